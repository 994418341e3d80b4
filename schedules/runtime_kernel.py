"""Kernels that are one call of a function of the C runtime, shared by all layers that call it.

Where the same code serves layers of all shapes, extents are its arguments. Tensors that a layer
may have at run time or as constants, such as weights, stand at the same place in both cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.microkernel import call

Named = tuple[str, Argument]


def runtime_kernel(
    name: str,
    function: str,
    arguments: Sequence[Named],
    output: TensorSpec,
    numbers: Sequence[int] = (),
    *,
    constants: Sequence[tuple[str, Array]] = (),
    scratch: TensorSpec | None = None,
    sources: Sequence[str] = (),
    overlaps: Sequence[Overlap | None] = (),
) -> Kernel:
    """The kernel `function(arguments..., constants..., scratch, output, numbers...)`.

    `arguments` are the call's own, in the order of the C function; arrays among them become
    constants of the kernel, in front of `constants`. `numbers` are passed as integers.
    """
    run_time = [(label, a) for label, a in arguments if isinstance(a, TensorSpec)]
    fixed = [(label, a) for label, a in arguments if not isinstance(a, TensorSpec)]
    fixed.extend(constants)
    beside: list[Named] = [("scratch", scratch)] if scratch is not None else []
    parameters: list[Named] = [*run_time, *fixed, *beside, ("output", output)]
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            buffers = {label: T.arg(label, _buffer(value)) for label, value in parameters}
            order = [label for label, _ in (*arguments, *constants, *beside)]
            passed = [buffers[label][0] for label in (*order, "output")]
            T.evaluate(call(function, *passed, *[int(number) for number in numbers]))
    return Kernel(
        name,
        builder.get(),
        tuple(fixed),
        scratch,
        tuple(sources),
        overlaps=tuple(overlaps),
    )


def _buffer(value: Argument) -> tirx.Buffer:
    elements = value.elements if isinstance(value, TensorSpec) else value.size
    dtype = value.dtype if isinstance(value, TensorSpec) else np.dtype(value.dtype).name
    return T.Buffer((max(elements, 1),), dtype)
