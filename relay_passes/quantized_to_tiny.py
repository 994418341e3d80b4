"""QuantizedToTiny: QDQ islands (quantize <- float operators <- dequantize) to `tiny.*` operators.

One walk over the bindings keeps, for every float value, the integers it stands for. `quantize` then
asks the table of rules for an integer operator of the float operator it ends. The walk is written
by hand because an island's shape varies (bias or not, any activations, two layouts, constants on
either side): as dpl patterns that would be dozens, each with its own captures. What no rule covers
is collected and reported at once.
"""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import ir, relax

from tvm_tiny.errors import Problem, UnsupportedError
from tvm_tiny.relay_passes import _qdq_rules as rules
from tvm_tiny.relay_passes._move_rules import INTEGER, TRANSPARENT
from tvm_tiny.relay_passes._quantized import Quantized, constant, of_dequantize, of_quantize
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import attributes_of, operator_of

HINT = "quantise the model fully to int8 (TFLite int8, ONNX QDQ, PT2E)"


class QuantizedToTiny(GraphPass):
    """Rewrite `main`; raises UnsupportedError listing every operator that has no integer form."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        module = relax.transform.CanonicalizeBindings()(module)
        main = Walk(module["main"]).run()
        cleaned = relax.transform.DeadCodeElimination()(tvm.IRModule({"main": main}))
        _refuse_leftovers(cleaned["main"], module["main"])
        return cleaned


class Walk:
    """State of one walk: new expressions of old variables, and what float values stand for."""

    def __init__(self, function: relax.Function) -> None:
        """Prepare to rewrite `function`."""
        self.function = function
        self.builder = relax.BlockBuilder()
        self.bindings = {b.var: b.value for b in _bindings(function)}
        self.readers = _quantize_bindings(function)
        self.integers: dict[ir.Var, ir.Expr] = {}
        self.quantized: dict[ir.Var, Quantized] = {}
        self.parameters: dict[ir.Var, Quantized] = {}  # of old integer variables
        self.name = ""
        self.source = str((function.attrs or {}).get("tiny.source", "relax"))

    def run(self) -> relax.Function:
        """The rewritten function."""
        parameters = list(self.function.params)
        attrs = {**dict(self.function.attrs or {}), "global_symbol": "main"}
        with self.builder.function("main", parameters, attrs=attrs):
            with self.builder.dataflow():
                for binding in _bindings(self.function):
                    self.name = binding.var.name
                    self._visit(binding.var, binding.value)
                result = self._output(self.function.body.body)
                name = getattr(result, "name", "outputs")
                result = self.builder.emit_output(result, name_hint=name)
            self.builder.emit_func_output(result)
        return self._with_port_parameters(self.builder.finalize()["main"])

    # What rules use.

    def emit(self, expr: ir.Expr, suffix: str = "") -> ir.Var:
        """Bind an integer expression under the name of the value being computed."""
        operator = operator_of(expr)
        if operator is not None:
            attrs = replace(attributes_of(expr), layer=self.name + suffix)
            expr = operator(attrs, *expr.args)
        return self.builder.emit(expr, name_hint=self.name + suffix)

    def quantized_of(self, expr: ir.Expr) -> Quantized | None:
        """What a float expression stands for, if that is known."""
        if isinstance(expr, ir.Var):
            return self.quantized.get(expr)
        return None

    def borrow(self, expr: ir.Expr) -> bool:
        """Give a float value an int8 form that the model does not ask for at this place.

        Exporters leave operators in float between a function and its quantisation (HardSwish, then
        a global pool). What such operators read is taken as the model quantises it elsewhere, or
        else with a scale that just holds the function's values: within half a step of either.
        """
        if expr in self.quantized or expr not in self.bindings:
            return False
        reader = self.readers.get(expr)
        given = None if reader is None else of_quantize(reader.value)
        parameters = given or rules.own_parameters(self, expr)
        if parameters is None:
            return False
        self.name, name = (reader.var if reader else expr).name, self.name
        new = rules.quantize(self, expr, parameters)
        if new is not None:
            emitted = new if isinstance(new, ir.Var) else self.emit(new)
            self.quantized[expr] = parameters.with_expr(emitted)
        self.name = name
        return new is not None

    def value_of(self, expr: ir.Expr) -> ir.Expr:
        """The old expression that a variable is bound to."""
        return self.bindings.get(expr, expr) if isinstance(expr, ir.Var) else expr

    # The walk.

    def _visit(self, var: ir.Var, value: ir.Expr) -> None:
        name = getattr(getattr(value, "op", None), "name", "")
        if name == "relax.dequantize":
            self._visit_dequantize(var, value)
        elif name == "relax.quantize":
            self._visit_quantize(var, value)
        elif name in TRANSPARENT and self.quantized_of(value.args[0]) is not None:
            self._visit_transparent(var, value, name)
        else:
            self._visit_other(var, value, name)

    def _visit_dequantize(self, var: ir.Var, value: ir.Call) -> None:
        quantized = of_dequantize(value, self._new(value.args[0]))
        if quantized is not None:
            self.quantized[var] = quantized
            self.parameters.setdefault(self._origin(value.args[0]), quantized)
        self._keep(var, value)

    def _visit_quantize(self, var: ir.Var, value: ir.Call) -> None:
        output = of_quantize(value)
        if output is not None:
            self.parameters[var] = output
        new = None if output is None else rules.quantize(self, value.args[0], output)
        if new is None:
            self._keep(var, value)
        else:
            self.integers[var] = new if isinstance(new, ir.Var) else self.emit(new)

    def _visit_transparent(self, var: ir.Var, value: ir.Call, name: str) -> None:
        quantized = TRANSPARENT[name](self, value)
        if quantized is not None:
            self.quantized[var] = quantized
        self._keep(var, value)

    def _visit_other(self, var: ir.Var, value: ir.Expr, name: str) -> None:
        rule = INTEGER.get(name)
        is_float = isinstance(value.ty, relax.TensorType) and value.ty.dtype == "float32"
        new = None if rule is None or is_float else rule(self, value)
        if new is None:
            self._keep(var, value)
        else:
            self.integers[var] = self.emit(new)

    def _keep(self, var: ir.Var, value: ir.Expr) -> None:
        """Carry a binding over; dead code elimination drops it when nothing needs it."""
        self.integers[var] = self.builder.emit(self._substitute(value), name_hint=var.name)

    def _output(self, expr: ir.Expr) -> ir.Expr:
        expr = self.value_of(expr) if isinstance(self.value_of(expr), relax.Tuple) else expr
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self._output(field) for field in expr.fields])
        quantized = self.quantized_of(expr)
        if quantized is None:
            return self._new(expr)
        attrs = DequantizeAttributes(quantized.scalar_scale, quantized.zero_point)
        self.name = expr.name
        return self.emit(DEQUANTIZE(attrs, quantized.expr))

    def _origin(self, expr: ir.Expr) -> ir.Expr:
        """The integer tensor that operators which keep scale and zero point made this from."""
        value = self.value_of(expr)
        while getattr(getattr(value, "op", None), "name", "") in INTEGER:
            expr = value.args[0]
            value = self.value_of(expr)
        return expr

    def _with_port_parameters(self, function: relax.Function) -> relax.Function:
        """Record scale and zero point of integer inputs and outputs (zero: a float port)."""
        result = self.value_of(self.function.body.body)
        outputs = result.fields if isinstance(result, relax.Tuple) else [self.function.body.body]
        for kind, ports in (("input", self.function.params), ("output", outputs)):
            if f"tiny.{kind}_scales" in function.attrs:
                continue  # a module that was rewritten before
            known = [self.parameters.get(self._origin(port)) for port in ports]
            scales = [0.0 if k is None else k.scalar_scale for k in known]
            points = [0 if k is None else k.zero_point for k in known]
            function = function.with_attr(f"tiny.{kind}_scales", scales)
            function = function.with_attr(f"tiny.{kind}_zero_points", points)
        return function

    def _new(self, expr: ir.Expr) -> ir.Expr:
        return self.integers.get(expr, expr) if isinstance(expr, ir.Var) else expr

    def _substitute(self, value: ir.Expr) -> ir.Expr:
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self._new(field) for field in value.fields])
        if isinstance(value, relax.TupleGetItem):
            return relax.TupleGetItem(self._new(value.tuple_value), value.index)
        if isinstance(value, ir.Call):
            arguments = [
                self._substitute(a) if isinstance(a, relax.Tuple) else self._new(a)
                for a in value.args
            ]
            return ir.Call(value.op, arguments, value.attrs, value.ty_args)
        return self._new(value)


def _bindings(function: relax.Function) -> list[relax.VarBinding]:
    blocks = function.body.blocks if isinstance(function.body, relax.SeqExpr) else []
    return [binding for block in blocks for binding in block.bindings]


def _quantize_bindings(function: relax.Function) -> dict[ir.Var, relax.VarBinding]:
    """The first `quantize` of each float value."""
    found: dict[ir.Var, relax.VarBinding] = {}
    for binding in _bindings(function):
        if getattr(getattr(binding.value, "op", None), "name", "") == "relax.quantize":
            found.setdefault(binding.value.args[0], binding)
    return found


def _refuse_leftovers(function: relax.Function, original: relax.Function) -> None:
    problems = []
    for binding in _bindings(function):
        value = binding.value
        name = getattr(getattr(value, "op", None), "name", "")
        if not name or operator_of(value) is not None or name in rules.STRUCTURAL:
            continue
        what = f"operator {name.removeprefix('relax.')} has no integer form here"
        problems.append(Problem(binding.var.name, what))
    if problems:
        raise UnsupportedError("operators that cannot be compiled", problems=problems, hint=HINT)


__all__ = ["QuantizedToTiny", "Walk", "constant"]
