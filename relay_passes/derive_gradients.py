"""DeriveGradients: behind the loss and the outputs, `main` returns a gradient for each state.

TVM's own differentiation does it, by the rules of schedules/training/gradients.py, and derives only
what leads to a state. It wants parameters of floats, so states are floats while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping

import tvm
from tvm import ir, relax
from tvm.relax.op.grad import no_grad

from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.relay_passes._straight_line import Values, bindings, build, moved, results
from tvm_tiny.schedules.dialect import attributes_of, operator_of, spec_of
from tvm_tiny.schedules.training import gradients

NO_GRADIENT = "relax.grad.no_grad"
SUFFIXES = {
    "tiny.in_range": "mask",
    "tiny.mask_gradient": "masked",
    "tiny.scale_gradient": "scaled",
}


class DeriveGradients(GraphPass):
    """Apply to a module with states (separate_trainables.py)."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        gradients.register()
        function = module["main"]
        names = {str(name) for name in function.attrs["tiny.states"]}
        states = [parameter for parameter in function.params if parameter.name in names]
        floats: Values = {
            state: relax.Var(state.name, relax.TensorType(spec_of(state).shape, "float32"))
            for state in states
        }
        parameters = [floats.get(parameter, parameter) for parameter in function.params]
        derivable = tvm.IRModule({"main": _with_scalar_loss(function, parameters, floats)})
        derive = relax.transform.Gradient("main", list(floats.values()))
        adjoint = derive(derivable)["main_adjoint"]
        adjoint = relax.transform.DeadCodeElimination()(tvm.IRModule({"main": adjoint}))["main"]
        back: Values = dict(zip(adjoint.params, function.params, strict=True))
        return build(
            function.params,
            lambda builder: _as_tiny(builder, adjoint, back),
            dict(function.attrs),
        )


def _with_scalar_loss(
    function: relax.Function, parameters: list[ir.Var], values: Mapping[ir.Var, ir.Expr]
) -> relax.Function:
    """TVM derives from a value of no dimensions, which a function returns by name.

    Where something that depends on a state reads what does not, gradients end.
    """
    builder, known = relax.BlockBuilder(), dict(values)
    trained = set(values)
    with builder.function("main", parameters):
        with builder.dataflow():
            for var, value in bindings(function):
                read = [a for a in value.args if isinstance(a, ir.Var)]
                if trained.intersection(read):
                    trained.add(var)
                    frozen = {a: no_grad(known.get(a, a)) for a in read if a not in trained}
                    value = moved(value, frozen)
                known[var] = builder.emit(moved(value, known), var.name)
            loss, *outputs = (known.get(result, result) for result in results(function))
            scalar = builder.emit_output(relax.op.reshape(loss, ()))
            kept = [builder.emit_output(output) for output in outputs]
        builder.emit_func_output(relax.Tuple([scalar, *kept]))
    return builder.finalize()["main"]


def _as_tiny(builder: relax.BlockBuilder, adjoint: relax.Function, values: Values) -> list[ir.Expr]:
    """The derived function in the dialect; its loss is a tensor of one element again."""
    for var, value in bindings(adjoint):
        call = moved(value, values)
        name = getattr(getattr(value, "op", None), "name", "")
        if name == NO_GRADIENT:
            call = call.args[0]
        if name == "relax.add":
            call = gradients.operator("add_gradients", *call.args)
        if name == "relax.reshape" and not spec_of(value).shape:
            call = call.args[0]
        values[var] = call if isinstance(call, ir.Var) else builder.emit(call, _name(var, call))
    return [values.get(result, result) for result in results(adjoint)]


def _name(var: ir.Var, call: ir.Call) -> str:
    """TVM numbers what rules emit: called after its layer."""
    known = operator_of(call)
    if known is None or known.name not in SUFFIXES:
        return var.name
    return f"{attributes_of(call).layer}_{SUFFIXES[known.name]}"
