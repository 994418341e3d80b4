"""Bring every frontend's Relax into the one form that the passes read.

One dataflow block without aliases; constants folded (see `constants`), so that weights and
biases are always `dequantize(constant)`; variables named after the model's tensors, and those in
between after the tensor they serve and their operator: `conv1_conv2d`, `conv1_add`, `conv1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import tvm
from tvm import ir, relax

from tvm_tiny.importers.constants import fold, is_call
from tvm_tiny.importers.names import Namer

Names = Mapping[relax.Var, str]


@dataclass(frozen=True)
class Signature:
    """Where a module came from, and the names of its inputs and outputs in the model file."""

    source: str
    input_names: Sequence[str]
    output_names: Sequence[str]


def canonicalise(module: tvm.IRModule, names: Names, signature: Signature) -> tvm.IRModule:
    """Rebuild `main` in canonical form; `names` gives model names of bound variables."""
    main = _Rebuild(module["main"], names, signature.input_names).function()
    attributes = {
        "tiny.source": signature.source,
        "tiny.input_names": list(signature.input_names),
        "tiny.output_names": list(signature.output_names),
    }
    rebuilt = tvm.IRModule({"main": main.with_attrs(attributes)})
    for global_var, function in module.functions.items():
        if global_var.name_hint != "main" and _is_used(global_var, main):
            rebuilt[global_var] = function
    return relax.transform.DeadCodeElimination(["main"])(rebuilt)


def _is_used(global_var: ir.GlobalVar, main: relax.Function) -> bool:
    values = [binding.value for block in main.body.blocks for binding in block.bindings]
    calls = [value for value in values if isinstance(value, ir.Call)]
    return any(global_var.same_as(part) for call in calls for part in (call.op, *call.args))


class _Rebuild:
    """One pass over the bindings of `main`, emitting each again, folded and named."""

    def __init__(self, main: relax.Function, names: Names, input_names: Iterable[str]) -> None:
        self.main, self.namer = main, Namer()
        self.bindings = [binding for block in main.body.blocks for binding in block.bindings]
        self.defined = {binding.var: binding.value for binding in self.bindings}
        self.parameters = [
            relax.Var(self.namer(name), old.ty)
            for old, name in zip(main.params, input_names, strict=True)
        ]
        self.values = dict(zip(main.params, self.parameters, strict=True))
        self.folding: dict[relax.Var, ir.Expr] = {}
        self.labels = self._labels({self._origin(var): name for var, name in names.items()})
        self.builder = relax.BlockBuilder()

    def function(self) -> relax.Function:
        """Return the rebuilt function."""
        body = self._origin(self.main.body.body)
        is_tuple = isinstance(body, relax.Tuple)
        returned = [self._origin(part) for part in (body.fields if is_tuple else [body])]
        with self.builder.function("main", self.parameters):
            with self.builder.dataflow():
                for binding in self.bindings:
                    self._emit(binding, any(binding.var.same_as(var) for var in returned))
                outputs = [self._output(value) for value in returned]
            self.builder.emit_func_output(relax.Tuple(outputs) if is_tuple else outputs[0])
        return self.builder.get()["main"]

    def _origin(self, value: ir.Expr) -> ir.Expr:
        """Follow bindings that only rename a variable or a tuple."""
        while isinstance(self.defined.get(value), relax.Var | relax.Tuple):
            value = self.defined[value]
        return value

    def _labels(self, names: Names) -> dict[relax.Var, str]:
        labels = {var: self.namer(names[var]) for var in self.defined if var in names}
        served = dict.fromkeys(self.defined, "main")
        for earlier, later in pairwise(reversed(self.defined)):
            served[later] = labels.get(earlier, served[earlier])
        for var, value in self.defined.items():
            if var not in labels:
                labels[var] = self.namer(f"{served[var]}_{_operator(value)}")
        return labels

    def _emit(self, binding: relax.Binding, is_output: bool) -> None:
        value = fold(self._new(binding.value), self.folding)
        if isinstance(value, relax.Var | ir.GenericConst | relax.Tuple | relax.ShapeExpr):
            self.values[binding.var] = value
            return
        label = self.labels[binding.var]
        emit = self.builder.emit_output if is_output else self.builder.emit
        self.values[binding.var] = new = emit(value, label)
        if is_call(value, "relax.dequantize"):
            self.folding[new] = value

    def _new(self, value: ir.Expr) -> ir.Expr:
        """Return the expression with the variables of the rebuilt function."""
        if isinstance(value, relax.Var):
            return self.values.get(value, value)
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self._new(field) for field in value.fields])
        if isinstance(value, relax.TupleGetItem):
            source = self._new(value.tuple_value)
            is_tuple = isinstance(source, relax.Tuple)
            return source.fields[value.index] if is_tuple else source[value.index]
        if isinstance(value, ir.Call):
            arguments = [fold(self._new(argument), self.folding) for argument in value.args]
            return ir.Call(value.op, arguments, value.attrs, value.ty_args)
        return value

    def _output(self, value: ir.Expr) -> relax.Var:
        """Return an output variable; a returned input or constant is given one of its own."""
        new = self._new(value)
        if isinstance(new, relax.Var) and not isinstance(new, relax.DataflowVar):
            if not any(new.same_as(parameter) for parameter in self.parameters):
                return new
        return self.builder.emit_output(new, self.namer("output"))


def _operator(value: ir.Expr) -> str:
    operator = getattr(value, "op", None)
    return operator.name.split(".")[-1] if isinstance(operator, ir.Op) else "part"
