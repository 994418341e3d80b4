"""The graph of a Relax module: float, QDQ or the integer dialect, in one pass over its bindings.

A layer is an operator with what is fused into it: biases, batch norms, functions, quantisation and
the border before it have no tensors of their own. Crossing into TVM costs far more than anything
else here, so each binding is read once and all that follows is plain Python.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import ir, relax

from tvm_tiny.analysis import relax_operators as operators
from tvm_tiny.analysis.graph import Graph, Tensor
from tvm_tiny.analysis.relax_operators import Argument, Operator, Shape
from tvm_tiny.errors import ModelError
from tvm_tiny.importers import load

BYTES_OF = {"float64": 8, "int64": 8, "float16": 2, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
OTHER_BYTES = 4
VARIABLES = (relax.Var, relax.DataflowVar)
# The most common operators; their other arguments are settings.
ONE_OPERAND = frozenset(
    f"relax.{name}" for name in ("quantize", "dequantize", "clip", "nn.relu", "reshape")
)
BATCH_NORM = "relax.nn.batch_norm"  # gives a tuple, whose first part is the tensor
SAME_SHAPE = ONE_OPERAND | {BATCH_NORM}


@dataclass(frozen=True)
class Constant:
    """A value known at compile time, made from `origin`; most are never asked for their size."""

    origin: Any

    @property
    def elements(self) -> int:
        """How many numbers it was made from."""
        is_tensor = isinstance(self.origin, relax.Var | ir.GenericConst)
        return math.prod(_type_of(self.origin)[0]) if is_tensor else 0


@dataclass
class Value:
    """A run-time tensor, into whose producer (None for inputs) more may be fused.

    `is_shared`: somebody else reads it as it is now. `root`: what it is a function of.
    """

    number: int
    name: str
    shape: Shape
    dtype: str
    producer: Operator | None = None
    is_shared: bool = False
    root: Value | None = None


@dataclass(frozen=True)
class Bordered:
    """A tensor with a border that a window may take in: (before, after) of every axis."""

    value: Value
    widths: tuple[tuple[int, int], ...]


Known = Value | Constant | Bordered


@dataclass(frozen=True)
class Binding:
    """What is read of a binding: its operator's name ("" for tuples and other names)."""

    var: Any
    value: Any
    name: str
    parts: tuple[Any, ...]


def graph_of(model: Any, element_bytes: int | None = 1) -> Graph:
    """The graph of a module, or of anything that `load` reads.

    Raises ModelError where a shape is not known.
    """
    module = model if isinstance(model, ir.IRModule) else load(model)
    names = [global_var.name_hint for global_var in module.get_global_vars()]
    if "main" not in names or not isinstance(module["main"], relax.Function):
        raise ModelError("the module has no Relax function main", hint="name the entry main")
    return _Walk(module["main"], element_bytes).graph()


class _Walk:
    """State of one pass over the bindings of `main`."""

    def __init__(self, function: relax.Function, element_bytes: int | None) -> None:
        self.element_bytes = element_bytes
        self.known: dict[Any, Known] = {}
        self.tuples: dict[Any, tuple[Any, ...]] = {}
        self.values: list[Value] = []
        self.layers: list[tuple[Operator, list[Value], Value]] = []
        self.layout = ""
        result = function.body.body
        self.results = set(result.fields) if isinstance(result, relax.Tuple) else {result}
        bindings = [_read(b) for block in function.body.blocks for b in block.bindings]
        self.uses = Counter(p for b in bindings for p in b.parts if type(p) in VARIABLES)
        self.uses.update(result.fields if isinstance(result, relax.Tuple) else [result])
        self.inputs = self._parameters(function)
        for binding in bindings:
            self._visit(binding)
        fields = result.fields if isinstance(result, relax.Tuple) else self._fields(result)
        self.outputs = [self._value(part) for part in fields]

    def graph(self) -> Graph:
        """The finished graph; names and shapes are those that fusing has left."""
        return Graph(
            tuple(self._tensor(value) for value in self.values),
            tuple(
                operator.layer(tuple(value.number for value in inputs), output.number)
                for operator, inputs, output in self.layers
            ),
            tuple(value.number for value in self.inputs),
            tuple(value.number for value in self.outputs),
        )

    def _tensor(self, value: Value) -> Tensor:
        size = self.element_bytes or BYTES_OF.get(value.dtype, OTHER_BYTES)
        if len(value.shape) != 4:
            return Tensor(value.name, 1, 1, math.prod(value.shape), size)
        extents = dict(zip(self.layout or "NHWC", value.shape, strict=True))
        return Tensor(value.name, extents["H"], extents["W"], extents["N"] * extents["C"], size)

    # --- what variables stand for ---------------------------------------------------------------

    def _parameters(self, function: relax.Function) -> list[Value]:
        """Inputs; parameters behind the first `num_input`, if the module says so, are weights."""
        count = int((function.attrs or {}).get("num_input", len(function.params)))
        for parameter in function.params[count:]:
            self.known[parameter] = Constant(parameter)
        inputs = []
        for parameter in function.params[:count]:
            value = self._new(parameter.name, parameter, None)
            self.known[parameter] = value
            value.is_shared = self.uses[parameter] > 1
            inputs.append(value)
        return inputs

    def _new(self, name: str, typed: Any, producer: Operator | None) -> Value:
        value = Value(len(self.values), name, *_type_of(typed), producer)
        self.values.append(value)
        return value

    def _of(self, expr: Any) -> Known:
        known = self.known.get(expr) if type(expr) in VARIABLES else None
        return Constant(expr) if known is None else known

    def _value(self, expr: Any) -> Value:
        """A run-time tensor as it stands in memory; a border becomes a layer."""
        known = self._of(expr)
        if isinstance(known, Bordered):
            operator = Operator("pad")
            bordered = self._new(f"{known.value.name}_pad", expr, operator)
            self.layers.append((operator, [known.value], bordered))
            self.known[expr] = known = bordered
        if isinstance(known, Constant):
            raise ModelError("an output is not computed from the inputs", where=str(expr)[:80])
        return known

    def _fields(self, expr: Any) -> tuple[Any, ...]:
        return self.tuples.get(expr, (expr,))

    def _set(self, var: Any, known: Known) -> None:
        self.known[var] = known
        value = known.value if isinstance(known, Bordered) else known
        if isinstance(value, Value) and self.uses[var] > 1:
            value.is_shared = True

    # --- bindings -------------------------------------------------------------------------------

    def _visit(self, binding: Binding) -> None:
        var, parts = binding.var, self._operands(binding)
        if isinstance(binding.value, relax.Tuple):
            self.tuples[var] = binding.parts
            if var in self.results:
                self.results.update(binding.parts)
        elif all(isinstance(self._of(part), Constant) for part in parts):
            self.known[var] = self._of(parts[0]) if parts else Constant(var)
        elif isinstance(binding.value, relax.TupleGetItem):
            self._part(binding, parts[0])
        elif not binding.name or (binding.name == "relax.dequantize" and self._is_silent(var)):
            self._set(var, self._of(parts[0]))
        else:
            self._operator(binding, parts)

    def _operator(self, binding: Binding, parts: Sequence[Any]) -> None:
        if binding.name in operators.VIEWS:
            self._set(binding.var, self._value(parts[0]))
        elif binding.name == "relax.nn.pad":
            self._set(binding.var, Bordered(self._value(parts[0]), _widths(binding.value)))
        elif binding.name in operators.ELEMENTWISE:
            self._elementwise(binding, parts)
        else:
            self._compute(binding, parts)

    def _operands(self, binding: Binding) -> Sequence[Any]:
        """What an operator reads: the fields of tuples, not the tuples."""
        parts = binding.parts
        if not self.tuples or not any(part in self.tuples for part in parts):
            return parts
        fields = [field for part in parts for field in self._fields(part)]
        if isinstance(binding.value, relax.TupleGetItem):
            return [fields[binding.value.index]]
        return fields

    def _part(self, binding: Binding, whole: Any) -> None:
        """A part of several results stands for all of them; a batch norm has only one."""
        known = self._of(whole)
        if isinstance(known, Value) and known.name == whole.name:
            known.name = binding.var.name
        self._set(binding.var, known)

    def _is_silent(self, var: Any) -> bool:
        """Whether a conversion makes no new bytes: always, unless an output's type counts."""
        return self.element_bytes is not None or var not in self.results

    def _elementwise(self, binding: Binding, parts: Sequence[Any]) -> None:
        """Fuse into the producer what only it sees; functions of one tensor are one layer."""
        values = [self._value(p) for p in parts if not isinstance(self._of(p), Constant)]
        last = max(values, key=lambda value: value.number)
        is_function = all(value is last or last.root is value for value in values)
        is_conversion = binding.name == "relax.quantize" and self.element_bytes is not None
        if is_function and not last.is_shared and (is_conversion or last.producer is not None):
            if last.producer is not None:
                last.producer.parameters += self._trained(binding, parts)
            self._rename(binding, last)
        else:
            made = self._compute(binding, parts)
            made.root = last if is_function else None

    def _rename(self, binding: Binding, value: Value) -> None:
        """Let the producer compute this too."""
        value.name = binding.var.name
        if binding.name not in SAME_SHAPE or self.element_bytes is None:
            value.shape, value.dtype = _type_of(binding.var)
        self._set(binding.var, value)

    def _trained(self, binding: Binding, parts: Sequence[Any]) -> int:
        """Trained numbers among the constants of an operator; single numbers are not."""
        if binding.name in ONE_OPERAND:
            return 0
        left_out = range(len(parts))[operators.NOT_TRAINED.get(binding.name, slice(0, 0))]
        known = [self._of(part) for i, part in enumerate(parts) if i not in left_out]
        counts = [k.elements for k in known if isinstance(k, Constant)]
        return sum(count for count in counts if count > 1)

    def _compute(self, binding: Binding, parts: Sequence[Any]) -> Value:
        arguments = [self._argument(part) for part in parts]
        operator = operators.operator_of(
            binding.value, binding.name, arguments, _type_of(binding.var)[0]
        )
        if binding.name in operators.ELEMENTWISE:
            operator.parameters = self._trained(binding, parts)
        self.layout = self.layout or operator.layout
        first = self._of(parts[0])
        if isinstance(first, Bordered) and operator.window is not None:
            window = operators.padded(operator.window, operator.layout, first.widths)
            if window is not None:
                operator.window = window
                self.known[parts[0]] = first.value
        inputs = [self._value(p) for p in parts if not isinstance(self._of(p), Constant)]
        output = self._new(binding.var.name, binding.var, operator)
        self.layers.append((operator, inputs, output))
        self._set(binding.var, output)
        return output

    def _argument(self, expr: Any) -> Argument:
        known = self._of(expr)
        shape = _type_of(expr)[0] if isinstance(expr, relax.Var | ir.GenericConst) else ()
        return Argument(shape, known.elements if isinstance(known, Constant) else 0)


def _read(binding: Any) -> Binding:
    var, value = binding.var, binding.value
    if isinstance(value, ir.Call):
        name = value.op.name if isinstance(value.op, ir.Op) else "function"
        if name in ONE_OPERAND:
            return Binding(var, value, name, (value.args[0],))
        return Binding(var, value, name, tuple(_flat(value.args)))
    if isinstance(value, relax.Tuple):
        return Binding(var, value, "", tuple(value.fields))
    if isinstance(value, relax.TupleGetItem):
        return Binding(var, value, "", (value.tuple_value,))
    return Binding(var, value, "", (value,))


def _flat(parts: Any) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, relax.Tuple):
            yield from part.fields
        else:
            yield part


def _type_of(expr: Any) -> tuple[Shape, str]:
    """Shape and dtype; several results count as one tensor, batch norm's as its first."""
    kind = expr.ty
    try:
        if type(kind) is relax.TupleType:
            sizes = [math.prod(int(d) for d in field.shape) for field in kind.fields]
            return (sum(sizes),), str(kind.fields[0].dtype)
        return tuple(int(extent) for extent in kind.shape.values), str(kind.dtype)
    except (TypeError, AttributeError) as error:
        raise ModelError(
            "a tensor of unknown shape", where=getattr(expr, "name", str(expr)[:80])
        ) from error


def _widths(call: Any) -> tuple[tuple[int, int], ...]:
    widths = [int(width) for width in call.attrs.pad_width]
    return tuple(zip(widths[::2], widths[1::2], strict=True))
