"""The `tiny` dialect: what an operator is, and how Relax comes to know it.

An operator is one file in this folder: its attributes, its type rule, its meaning in numpy and its
kernel as a TIR PrimFunc. `define` registers it with TVM, so that `tiny.*` calls are ordinary Relax.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import tvm_ffi
from tvm import ir, relax, tirx
from tvm.ir import _ffi_api as ir_ffi

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.microkernel import MicroKernel

Array = np.ndarray[Any, Any]

# Errors of passes and type rules cross TVM's C++, which would make RuntimeErrors of them.
tvm_ffi.register_error(UnsupportedError)


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of a tensor that exists at run time."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.elements * np.dtype(self.dtype).itemsize


Argument = TensorSpec | Array  # a run-time tensor, or a constant's value


@dataclass(frozen=True)
class Attributes:
    """Base of an operator's attributes: ints, floats, strings and tuples of ints.

    `layer` is the model's own name for the result; it survives every rewrite and heads reports.
    """

    layer: str = dataclasses.field(default="", kw_only=True)

    def as_dict(self) -> dict[str, Any]:
        """Values as TVM's DictAttrs holds them."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


AttributesType = TypeVar("AttributesType", bound=Attributes)


@dataclass(frozen=True)
class Overlap:
    """How a kernel's output may lie over one of its inputs, which dies by it.

    The output begins `shift` bytes behind the input's first byte (before it, where negative) or
    anywhere before that; only there if `is_exact`. Nothing is then written before its last reading.
    """

    shift: int = 0
    is_exact: bool = False


@dataclass(frozen=True)
class Kernel:
    """A PrimFunc and what it is called with.

    Parameters of `function` are, in order: the call's run-time tensors, `constants`, `scratch` if
    it has any, the output. `constants` are (name, array) in the layout that the kernel wants, not
    the call's own. `name` is what the C function is called after. `sources` are files of the C
    runtime that the kernel calls, beside tvm_tiny.h, and `microkernels` functions made for it.
    `overlaps` says for each run-time tensor how the output may lie over it; None: not at all.
    """

    name: str
    function: tirx.PrimFunc
    constants: tuple[tuple[str, Array], ...] = ()
    scratch: TensorSpec | None = None
    sources: tuple[str, ...] = ()
    microkernels: tuple[MicroKernel, ...] = ()
    overlaps: tuple[Overlap | None, ...] = ()

    @property
    def aliased(self) -> frozenset[int]:
        """Numbers of the parameters that may share bytes: inputs, and the output then."""
        inputs = [number for number, overlap in enumerate(self.overlaps) if overlap]
        return frozenset([*inputs, len(self.function.params) - 1] if inputs else ())


# What a kernel may be made with beside its call: plain values by name, {"loads": "words"}.
Options = Mapping[str, int | str]


def _no_points(*call: Any) -> tuple[Options, ...]:
    return ()


@dataclass(frozen=True)
class Variant:
    """A faster kernel for cores that have `features`; `kernel` gives None for calls it can't do.

    `options(attrs, *arguments)` are other forms of the same kernel, bit for bit of the same
    meaning: `kernel(attrs, *arguments, **options)` makes one. Which is faster depends on the core.
    """

    name: str
    features: frozenset[str]
    kernel: Callable[..., Kernel | None]
    options: Callable[..., Sequence[Options]] = _no_points


@dataclass(frozen=True)
class Reach:
    """What an element of the output reads of an NHWC input: rows and columns, in this order.

    Output (y, x) reads `extent` elements from (y, x) * `strides` - `padding` on; `fill` is what it
    sees outside the image. The image ends where the input ends, whatever is read beyond.
    """

    extent: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    fill: int = 0


# Of each run-time tensor; None is one that is read whole by every element.
Reaches = tuple[Reach | None, ...]


@dataclass(frozen=True)
class Operator:
    """One operator of the dialect.

    `infer(attrs, *arguments)` gives the output's TensorSpec, `meaning(attrs, *arrays)` its value,
    `kernel(attrs, *arguments)` the portable code, `macs(attrs, *arguments)` the
    multiply-accumulates. `variants` stand in the order in which they should be tried.
    `reaches(attrs, *arguments)` says what parts of an image need; None where only whole ones work.
    `turned(attrs, *arguments)` is the same call on other shapes of the same memory, where kernels
    are faster on those: all of them, and costs, see it instead. `options` are other forms of the
    portable code, as those of a `Variant`.
    """

    name: str
    attributes: type[Attributes]
    infer: Callable[..., TensorSpec]
    meaning: Callable[..., Array]
    kernel: Callable[..., Kernel]
    macs: Callable[..., int] = lambda attrs, *arguments: 0
    variants: tuple[Variant, ...] = ()
    reaches: Callable[..., Reaches | None] = lambda attrs, *arguments: None
    turned: Callable[..., tuple[Attributes, list[Argument]]] = lambda attrs, *rest: (attrs, [*rest])
    options: Callable[..., Sequence[Options]] = _no_points

    def __call__(self, attrs: Attributes, *arguments: ir.Expr) -> ir.Call:
        """A Relax call of this operator."""
        return ir.Call(ir.Op.get(self.name), list(arguments), attrs=attrs.as_dict())


OPERATORS: dict[str, Operator] = {}


@dataclass(frozen=True)
class Call:
    """A call of an operator as plain data."""

    operator: Operator
    attributes: Attributes
    arguments: tuple[Argument, ...]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Its run-time tensors."""
        return tuple(a for a in self.arguments if isinstance(a, TensorSpec))

    @cached_property
    def output(self) -> TensorSpec:
        """What it gives."""
        return self.operator.infer(self.attributes, *self.arguments)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.operator.macs(self.attributes, *self.arguments)

    @cached_property
    def reaches(self) -> Reaches | None:
        """What parts of the output read of each run-time tensor."""
        return self.operator.reaches(self.attributes, *self.arguments)

    @property
    def seen_by_kernels(self) -> Call:
        """The same, turned as kernels want it."""
        attributes, arguments = self.operator.turned(self.attributes, *self.arguments)
        return Call(self.operator, attributes, tuple(arguments))


def define(operator: Operator) -> Operator:
    """Register an operator with TVM (once per process) and with this dialect."""
    if operator.name not in OPERATORS:
        ir_ffi.RegisterOp(operator.name, operator.meaning.__doc__ or operator.name)
        ir.register_op_attr(operator.name, "FInferType", _infer_type)
        ir.register_op_attr(operator.name, "FPurity", True)
    OPERATORS[operator.name] = operator
    return operator


def operator_of(call: ir.Expr) -> Operator | None:
    """The dialect's operator that `call` calls, or None."""
    is_call = isinstance(call, ir.Call) and isinstance(call.op, ir.Op)
    return OPERATORS.get(call.op.name) if is_call else None


def call_of(call: ir.Call | Call) -> Call:
    """A Relax call as plain data."""
    if isinstance(call, Call):
        return call
    return Call(OPERATORS[call.op.name], attributes_of(call), tuple(arguments_of(call)))


def attributes_of(call: ir.Call) -> Any:
    """The call's attributes as the operator's own dataclass."""
    kind = OPERATORS[call.op.name].attributes
    fields = dataclasses.fields(kind)
    return kind(**{field.name: _plain(call.attrs[field.name]) for field in fields})


def arguments_of(call: ir.Call) -> list[Argument]:
    """The call's arguments: arrays for constants, specs for everything else."""
    return [argument_of(expr) for expr in call.args]


def argument_of(expr: ir.Expr) -> Argument:
    """One argument: its array when constant, else its spec."""
    return expr.value.numpy() if isinstance(expr, ir.GenericConst) else spec_of(expr)


def spec_of(expr: ir.Expr) -> TensorSpec:
    """Shape and dtype of a Relax expression of static shape."""
    kind = expr.ty
    if not isinstance(kind, relax.TensorType) or kind.shape is None:
        raise UnsupportedError("a tensor of unknown shape", where=str(expr)[:80])
    try:
        return TensorSpec(tuple(int(d) for d in kind.shape), str(kind.dtype.dtype))
    except TypeError as error:
        raise UnsupportedError("a tensor of symbolic shape", where=str(kind)[:80]) from error


def run_meaning(call: ir.Call, inputs: Sequence[Array]) -> Array:
    """The call's value for run-time `inputs` (in order), by its numpy meaning."""
    given = iter(inputs)
    values = [a if isinstance(a, np.ndarray) else next(given) for a in arguments_of(call)]
    return OPERATORS[call.op.name].meaning(attributes_of(call), *values)


def _infer_type(call: ir.Call, _builder: relax.BlockBuilder) -> relax.TensorType:
    operator = OPERATORS[call.op.name]
    spec = operator.infer(attributes_of(call), *arguments_of(call))
    return relax.TensorType(list(spec.shape), spec.dtype)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)  # TVM's strings are a subclass that encoders do not know
    if isinstance(value, (int, float)):
        return value
    if hasattr(value, "value"):
        return value.value
    return tuple(_plain(item) for item in value)
