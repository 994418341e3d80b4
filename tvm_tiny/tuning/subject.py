"""A kernel as it is measured: its C and assembly, and where its tensors and constants lie.

The texts are what the firmware of a model would have for the layer: the same kernel, micro-kernels
and a layer's function that calls it. Every tensor has guards around it, which nothing may touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import ir

from tvm_tiny.codegen.c_printer import CPrinter, c_type
from tvm_tiny.codegen.lower_kernel import lower_kernel
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes.program import aligned
from tvm_tiny.schedules.dialect import Array, Call, Kernel, TensorSpec, call_of
from tvm_tiny.schedules.microkernel import MicroKernel, indent
from tvm_tiny.tuning.trial import Trial

PREFIX = "SUBJECT"  # of every name in the texts, so that many subjects can be linked together
GUARD_BYTES = 256
PATTERN = 0xA5
CONSTANT_ALIGN = 16


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in the arena, or a constant among the constants."""

    name: str
    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.nbytes


@dataclass(frozen=True, eq=False)
class Subject:
    """One candidate, ready to be compiled; `runtime` are the C files that it calls."""

    c_text: str
    assembly: str
    headers: tuple[str, ...]
    runtime: tuple[str, ...]
    constants: tuple[Place, ...]
    constant_bytes: bytes
    inputs: tuple[Place, ...]
    scratch: Place | None
    output: Place
    arena_bytes: int

    @property
    def key(self) -> tuple[str, ...]:
        """What its code depends on, beside flags and the C runtime."""
        return (self.c_text, self.assembly, *self.runtime)


def subject_of(trial: Trial) -> Subject:
    """The subject of a trial; raises what its kernel's maker raises."""
    kernel = trial.candidate.kernel
    if kernel is None:
        raise UnsupportedError("this variant cannot do the call", where=trial.candidate.variant)
    call = seen(trial.call)
    inputs, scratch, output, size = _arena(kernel, call)
    constants, constant_bytes = _constants(kernel)
    return Subject(
        c_text=_c_text(kernel, call, (*inputs, *([scratch] if scratch else []), output)),
        assembly="".join(_assembly(function) for function in _distinct(kernel)),
        headers=tuple(sorted(name for name in kernel.sources if name.endswith(".h"))),
        runtime=tuple(sorted(name for name in kernel.sources if name.endswith(".c"))),
        constants=constants,
        constant_bytes=constant_bytes,
        inputs=inputs,
        scratch=scratch,
        output=output,
        arena_bytes=size,
    )


def seen(call: Call | ir.Call) -> Call:
    """A call as kernels see it."""
    return call_of(call).seen_by_kernels


def _distinct(kernel: Kernel) -> list[MicroKernel]:
    return list({function.name: function for function in kernel.microkernels}.values())


def _arena(kernel: Kernel, call: Call) -> tuple[tuple[Place, ...], Place | None, Place, int]:
    """Inputs, scratch and output, and the size of all with the guards around them."""
    end = 0

    def place(name: str, spec: TensorSpec) -> Place:
        nonlocal end
        found = Place(name, aligned(end + GUARD_BYTES), spec.nbytes)
        end = found.end
        return found

    inputs = tuple(place(f"input {number}", spec) for number, spec in enumerate(call.inputs))
    scratch = place("scratch", kernel.scratch) if kernel.scratch else None
    output = place("output", call.output)
    return inputs, scratch, output, aligned(end + GUARD_BYTES)


def _constants(kernel: Kernel) -> tuple[tuple[Place, ...], bytes]:
    places: list[Place] = []
    content = bytearray()
    for name, values in kernel.constants:
        content += bytes(-len(content) % CONSTANT_ALIGN)
        data = np.ascontiguousarray(values).tobytes()
        places.append(Place(name, len(content), len(data)))
        content += data
    return tuple(places), bytes(content)


def _c_text(kernel: Kernel, call: Call, places: tuple[Place, ...]) -> str:
    """Kernel and layer as the firmware has them in two files; neither looks into the other."""
    symbols = {f.name: f"{PREFIX}_{f.name}" for f in kernel.microkernels}
    lowered = lower_kernel(kernel.function)
    used = CPrinter(lowered).used_parameters()
    printer = CPrinter(lowered, symbols)
    body = "\n".join(printer.body())
    signature = printer.signature(f"{PREFIX}_kernel", used, kernel.aliased)
    declared = [f"void {symbols[f.name]}({f.parameters});" for f in _distinct(kernel)]
    for name, values in kernel.constants:
        ctype = c_type(values.dtype)
        declared.append(f"extern const {ctype} {PREFIX}_constant_{name}[{max(values.size, 1)}];")
    passed = _arguments(kernel, call, places)
    arguments = ", ".join(text for text, is_used in zip(passed, used, strict=True) if is_used)
    parts = (
        *declared,
        f"__attribute__((noipa)) {signature} {{\n{body}\n}}",
        f"void {PREFIX}_layer(uint8_t *arena);",
        f"TINY_LAYER void {PREFIX}_layer(uint8_t *arena) {{",
        f"  {PREFIX}_kernel({arguments});\n}}\n",
    )
    return "\n".join(parts)


def _arguments(kernel: Kernel, call: Call, places: tuple[Place, ...]) -> list[str]:
    """What the layer passes: addresses in the arena, and constants between them."""

    def at(dtype: Any, place: Place, qualifier: str = "") -> str:
        return f"({qualifier}{c_type(dtype)} *)(arena + {place.offset})"

    specs, count = call.inputs, len(call.inputs)
    inputs = [at(spec.dtype, place, "const ") for spec, place in zip(specs, places, strict=False)]
    constants = [f"{PREFIX}_constant_{name}" for name, _ in kernel.constants]
    scratch = [at(kernel.scratch.dtype, places[count])] if kernel.scratch else []
    return [*inputs, *constants, *scratch, at(call.output.dtype, places[-1])]


def _assembly(function: MicroKernel) -> str:
    symbol = f"{PREFIX}_{function.name}"
    lines = "\n".join(indent(function.assembly))
    return (
        f'.section .text.{symbol}, "ax", %progbits\n.balign 4\n.global {symbol}\n'
        f".type {symbol}, %function\n.thumb_func\n{symbol}:\n{lines}\n"
        f".size {symbol}, . - {symbol}\n"
    )


def expected_arena(subject: Subject, inputs: list[Array]) -> bytearray:
    """The arena before a run: guards, scratch and output filled with a pattern."""
    arena = bytearray([PATTERN]) * subject.arena_bytes
    for place, values in zip(subject.inputs, inputs, strict=True):
        arena[place.offset : place.end] = np.ascontiguousarray(values).tobytes()
    return arena
