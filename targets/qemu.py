"""Run firmware on QEMU: outputs, exact block counts, and faults told in words."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_tiny.errors import FaultError, HangError, MissingToolError, TargetError, TinyError
from tvm_tiny.targets.board import Emulator
from tvm_tiny.targets.elf import read_functions, symbolise
from tvm_tiny.targets.fault import (
    FAULT_EXIT_CODE,
    FAULT_FILE,
    FaultReport,
    hint_for,
    parse_report,
)
from tvm_tiny.targets.plugin import plugin_path
from tvm_tiny.targets.profile import ProfileRanges, guess_ranges
from tvm_tiny.targets.raw_run import INPUT_FILE, RawRun, Trace, parse_trace, read_run
from tvm_tiny.targets.target import Target
from tvm_tiny.targets.toolchain import find_program

DEFAULT_TIMEOUT_S = 60.0

_RANGES_FILE = "ranges.txt"
_TRACE_FILE = "counts.txt"
_QUIET = ("-display", "none", "-monitor", "none", "-serial", "none", "-parallel", "none")
_SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")
_NO_TRACE = Trace((), -1, 0)
# Time for the emulator to let the plugin write its result after the request to end.
_GRACE_S = 5.0


@dataclass(frozen=True)
class _Job:
    """One start of the emulator; `follow` traces all samples instead of counting the first."""

    elf: Path
    emulator: Emulator
    input_bytes: bytes
    profile: ProfileRanges | None
    timeout_s: float
    follow: bool = False


@dataclass(frozen=True)
class _Ending:
    """How the emulator ended; no exit code means that it had to be stopped."""

    exit_code: int | None
    message: str
    trace: Trace
    fault: FaultReport | None


def run(
    elf: Path,
    target: Target,
    input_bytes: bytes,
    profile: ProfileRanges | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> RawRun:
    """Run a firmware image on the target's emulator board over the samples in `input_bytes`.

    With `profile` the first inference is counted, block by block and owner by owner.
    """
    if target.board.emulator is None:
        raise TargetError(
            "this board has no emulator; firmware can only be built", where=target.name
        )
    job = _Job(elf.resolve(), target.board.emulator, input_bytes, profile, timeout_s)
    with tempfile.TemporaryDirectory(prefix="tvm_tiny-") as folder:
        ending = _execute(job, Path(folder))
        if ending.exit_code == 0:
            return read_run(Path(folder), ending.trace.blocks)
    raise _explain(job, target, ending)


def _execute(job: _Job, directory: Path) -> _Ending:
    (directory / INPUT_FILE).write_bytes(job.input_bytes)
    process = subprocess.Popen(
        command(job.emulator, job.elf, _plugin_arguments(job, directory)),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    exit_code, message = _wait(process, job.timeout_s)
    trace, fault = directory / _TRACE_FILE, directory / FAULT_FILE
    return _Ending(
        exit_code,
        message.strip(),
        parse_trace(trace.read_text("utf-8")) if trace.exists() else _NO_TRACE,
        parse_report(fault.read_bytes()) if fault.exists() else None,
    )


def command(emulator: Emulator, elf: Path, plugin: Sequence[str] = ()) -> list[str]:
    """How the emulator is started with a firmware image, and further arguments for a plugin."""
    return [
        find_program(["qemu-system-arm"], "apt-get install qemu-system-arm"),
        *("-machine", emulator.machine, *emulator.arguments),
        *_QUIET,
        *_SEMIHOSTING,
        *plugin,
        *("-kernel", str(elf)),
    ]


def no_plugin_error(message: str) -> MissingToolError:
    """The error of an emulator that said this when it was started with a plugin."""
    return MissingToolError(
        "this emulator cannot load the counting plugin, which is written for QEMU 7.2",
        where="qemu-system-arm",
        hint=message.splitlines()[0],
    )


def _plugin_arguments(job: _Job, directory: Path) -> Sequence[str]:
    if job.profile is None:
        return ()
    (directory / _RANGES_FILE).write_text(job.profile.as_text(), "utf-8")
    path = escaped(plugin_path())
    follow = ",follow=on" if job.follow else ""
    return ("-plugin", f"{path},ranges={_RANGES_FILE},out={_TRACE_FILE}{follow}")


def escaped(path: Path) -> str:
    """A path as the emulator's command line wants it: a comma ends a value there."""
    return str(path).replace(",", ",,")


def _wait(process: subprocess.Popen[str], timeout_s: float) -> tuple[int | None, str]:
    try:
        _, message = process.communicate(timeout=timeout_s)
        return process.returncode, message
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        _, message = process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, message = process.communicate()
    return None, message


def _explain(job: _Job, target: Target, ending: _Ending) -> TinyError:
    if ending.exit_code is None:
        return _hang_error(job, ending)
    if "plugin" in ending.message:
        return no_plugin_error(ending.message)
    if ending.fault and ending.exit_code == FAULT_EXIT_CODE + ending.fault.exception:
        return _fault_error(job, target, ending.fault)
    return FaultError(
        f"the emulator ended with code {ending.exit_code}",
        where=_where_it_ended(job)[0] or job.elf.name,
        hint=ending.message.splitlines()[0] if ending.message else "",
    )


def _hang_error(job: _Job, ending: _Ending) -> HangError:
    owner = job.profile.name(ending.trace.owner) if job.profile else ""
    return HangError(
        f"the firmware did not end within {job.timeout_s:g} s",
        where=owner or job.elf.name,
        hint="an endless loop, or a model that needs a longer time limit",
    )


def _fault_error(job: _Job, target: Target, report: FaultReport) -> FaultError:
    operator, last_address = _where_it_ended(job)
    functions = read_functions(job.elf)
    pc = report.pc or last_address
    symbol = symbolise(functions, pc)
    parts = [f"{report.name} at pc {pc:#010x}" + (f" in {symbol}" if symbol else "")]
    if report.causes:
        parts.append(report.causes)
    if report.address is not None:
        parts.append(f"address {report.address:#010x}")
    return FaultError(
        ": ".join(parts),
        where=operator or symbol or job.elf.name,
        hint=hint_for(report, target),
    )


def _where_it_ended(job: _Job) -> tuple[str, int]:
    """The operator that was running and its last block, found by tracing the same run again."""
    try:
        ranges = job.profile or guess_ranges(job.elf)
        again = _Job(job.elf, job.emulator, job.input_bytes, ranges, 2 * job.timeout_s, follow=True)
        with tempfile.TemporaryDirectory(prefix="tvm_tiny-") as folder:
            trace = _execute(again, Path(folder)).trace
    except MissingToolError:  # without a host compiler there is no plugin, but still a report
        return "", 0
    return ranges.name(trace.owner), trace.address
