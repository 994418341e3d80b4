"""Whether a run did what it should: the right output, and nothing written anywhere else."""

from __future__ import annotations

import numpy as np

from tvm_tiny.errors import FaultError, HangError, TinyError
from tvm_tiny.targets.elf import symbolise
from tvm_tiny.targets.fault import FaultReport, hint_for
from tvm_tiny.targets.measurement.layout import ServerLayout, server_target
from tvm_tiny.tuning.compile import CodeImage
from tvm_tiny.tuning.subject import Subject

_ERROR_CHARACTERS = 300


def problem_of_memory(
    subject: Subject, before: bytes, after: bytes, output: bytes, dtype: str
) -> str:
    """What is wrong with the arena after a run, or nothing."""
    found = np.frombuffer(after, np.uint8)
    wanted = np.frombuffer(before, np.uint8).copy()
    place = subject.output
    if subject.scratch:
        scratch = slice(subject.scratch.offset, subject.scratch.end)
        wanted[scratch] = found[scratch]
    wanted[place.offset : place.end] = found[place.offset : place.end]
    wrong = np.flatnonzero(wanted != found)
    if wrong.size:
        return f"writes outside its buffers: {_whereabouts(subject, int(wrong[0]))}"
    if after[place.offset : place.end] == output:
        return ""
    return _wrong_result(after[place.offset : place.end], output, dtype)


def _whereabouts(subject: Subject, offset: int) -> str:
    """The tensor that a byte of the arena belongs to, or is nearest to."""
    places = [*subject.inputs, subject.output]
    places += [subject.scratch] if subject.scratch else []
    for place in places:
        if place.offset <= offset < place.end:
            return f"byte {offset - place.offset} of {place.name}"
    nearest = min(places, key=lambda place: _distance(offset, place.offset, place.end))
    if offset < nearest.offset:
        return f"{nearest.offset - offset} bytes before {nearest.name}"
    return f"{offset - nearest.end} bytes behind {nearest.name}"


def _distance(offset: int, start: int, end: int) -> int:
    return start - offset if offset < start else offset - end


def _wrong_result(found: bytes, wanted: bytes, dtype: str) -> str:
    got, right = np.frombuffer(found, dtype), np.frombuffer(wanted, dtype)
    differs = np.flatnonzero(got.view(np.uint8) != right.view(np.uint8)) // got.itemsize
    first = int(differs[0])
    return f"wrong result at element {first}: {got[first]} instead of {right[first]}"


def problem_of_fault(
    fault: FaultReport, subject: Subject, image: CodeImage, layout: ServerLayout
) -> str:
    """A crash in words that do not depend on where the code lay."""
    parts = [f"crash: {fault.name}"]
    name = symbolise(image.functions, fault.pc)
    if name:
        parts[0] += f" in {name.partition('_')[2]}"
    if hint_for(fault, server_target(layout.target)).startswith("stack overflow"):
        return ": ".join([*parts, "stack overflow"])
    if fault.causes:
        parts.append(fault.causes)
    if fault.address is not None:
        parts.append(f"address {fault.address:#010x}")
        if layout.data.origin <= fault.address < layout.data.end:
            parts[-1] = _whereabouts(subject, fault.address - layout.data.origin)
    return ": ".join(parts)


def problem_of_error(error: Exception, doing: str = "") -> str:
    """An error on one line: what was being done, and what came of it."""
    if isinstance(error, HangError):
        return error.what
    if isinstance(error, FaultError):
        return f"crash: {error.what}" + (f" ({error.hint})" if error.hint else "")
    text = error.what if isinstance(error, TinyError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())[:_ERROR_CHARACTERS]
    return f"{doing}: {line}" if doing else line
