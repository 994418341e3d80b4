"""A call and kernels for it: one that is right, and all that can be wrong with one."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.layers import Layer
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Call, Kernel, TensorSpec, call_of
from tvm_tiny.schedules.microkernel import MicroKernel
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.tuning.trial import Trial

ELEMENTS = 64
SPEC = TensorSpec((1, 8, 8, 1), "int8")


def add_call() -> Call:
    """Return the sum of two tensors of 64 elements."""
    return call_of(Layer.parse("add 8x8x1").call())


def made_kernel(assembly: Sequence[str], name: str = "made") -> Kernel:
    """Return a kernel that is one function in assembly: left, right and output in r0 to r2."""
    kernel = runtime_kernel(
        name, f"{name}_loop", [("left", SPEC), ("right", SPEC)], SPEC, sources=()
    )
    function = MicroKernel(
        f"{name}_loop",
        "const int8_t *left, const int8_t *right, int8_t *output",
        "Does as it likes.",
        tuple(assembly),
        (),
        needs_dsp=False,
    )
    return Kernel(kernel.name, kernel.function, kernel.constants, kernel.scratch, (), (function,))


def trial_of(assembly: Sequence[str], core: str) -> Trial:
    """Return a trial of that kernel for the sum."""
    candidate = Candidate("tiny.qadd", "made", 0, lambda: made_kernel(assembly))
    return Trial(add_call(), candidate, core)


FILL = ("mov r3, #64", "1:", "subs r3, #1", "strb r3, [r2, r3]", "bne 1b", "bx lr")
WRONG = {
    "wrong result at element 0": FILL,
    "writes outside its buffers: 0 bytes behind output": ("strb r0, [r2, #64]", "bx lr"),
    "writes outside its buffers: byte 3 of input 1": ("strb r0, [r1, #3]", "bx lr"),
    "writes outside its buffers: 4 bytes before input 0": ("str r0, [r0, #-4]", "bx lr"),
    "crash: MemManage fault": ("str r0, [r2, #2048]", "bx lr"),
    "crash: UsageFault": ("udf #0",),
    "endless loop": ("1:", "b 1b"),
    "does not compile": ("no such instruction",),
}
STACK = ("1:", "push {r0-r7}", "b 1b")
