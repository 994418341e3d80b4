"""QuantizedModule: an int8 model as a torch module with the firmware's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor
from tvm import ir, relax

from tvm_tiny.errors import InputError, ModelError, UnsupportedError
from tvm_tiny.importers import load
from tvm_tiny.pipeline import rewrite_for_training
from tvm_tiny.relay_passes.append_updates import LARGEST_BIAS, LARGEST_WEIGHT
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate
from tvm_tiny.schedules.dialect import arguments_of, attributes_of
from tvm_tiny.torch.constants import with_constants
from tvm_tiny.torch.linear import LAYERS, Linear
from tvm_tiny.torch.losses import cross_entropy, mean_squared_error
from tvm_tiny.torch.operators import FUNCTIONS
from tvm_tiny.torch.scales import Quantisation, head_of, known_quantisation
from tvm_tiny.training.update_plan import SparseUpdate

LOSSES = {"softmax_cross_entropy": cross_entropy, "mean_squared_error": mean_squared_error}


@dataclass(frozen=True)
class Step:
    """One operator: `run` takes the values of `inputs` and makes that of `output`."""

    name: str
    run: Callable[..., Tensor]
    inputs: tuple[ir.Var, ...]
    output: ir.Var


class QuantizedModule(torch.nn.Module):
    """The `tiny` graph of an int8 model, layer by layer; forward is exact, in integers.

    Tensors are float and hold integers; the first axis is a batch of any size. Layers are
    submodules under their names in reports, so that `state_dict` has `<layer>.weight` and
    `<layer>.bias`. Gradients are those of MCUNetV3's training: per integer step, through every
    rounding, zero where a clamp held the value.
    """

    def __init__(self, graph: tvm.IRModule, *, single: bool = False) -> None:
        """Walk `main` of a module of the dialect; `from_model` makes one."""
        super().__init__()
        self.graph = graph
        self._main = graph["main"]
        self._head = head_of(graph)
        self._steps = [self._step(binding, single) for binding in _bindings(graph)]

    @classmethod
    def from_model(cls, model: object, *, single: bool = False) -> QuantizedModule:
        """Import whatever `tvm_tiny.load` takes.

        Gradients of convolutions are computed in float64, or faster in float32 where `single`.
        """
        return cls(rewrite_for_training(load(model)), single=single)

    @property
    def layers(self) -> dict[str, Linear]:
        """The layers that have weights, in the order in which they run."""
        return {n: child for n, child in self.named_children() if isinstance(child, Linear)}

    def forward(self, *inputs: Tensor) -> Any:
        """The model's output or tuple of outputs."""
        values = self._run(inputs, None)
        result = self._main.body.body
        result = {b.var: b.value for b in _bindings(self.graph)}.get(result, result)
        if isinstance(result, relax.Tuple):
            return tuple(values[field] for field in result.fields)
        return values[self._main.body.body]

    def logits(self, *inputs: Tensor) -> Tensor:
        """The first output before a final softmax or dequantisation: what losses are taken of."""
        return self._run(inputs, self._head.logits)[self._head.logits]

    @property
    def logits_quantisation(self) -> Quantisation:
        """Scale and zero point of the logits."""
        return known_quantisation(self._head)

    def loss(self, data: Tensor, target: Tensor, kind: str = "softmax_cross_entropy") -> Tensor:
        """The mean loss of a batch, of labels or (`mean_squared_error`) of values."""
        if kind not in LOSSES:
            raise InputError(f"there is no loss {kind}", hint=f"one of {', '.join(LOSSES)}")
        known = self.logits_quantisation
        return LOSSES[kind](self.logits(data), target, known.scale, known.zero_point)

    def parameters_of_plan(self, plan: SparseUpdate | str = "full") -> list[dict[str, Any]]:
        """Groups for `QuantizedSGD`; everything outside the plan is frozen. Raises PlanError."""
        plan = SparseUpdate.parse(plan) if isinstance(plan, str) else plan
        groups = []
        for update in plan.resolve(self.graph):
            layer = self.layers[update.layer]
            layer.weight.requires_grad_(bool(update.weight_channels))
            layer.bias.requires_grad_(update.bias)
            groups += _groups(update, layer)
        return groups

    def to_relax(self) -> tvm.IRModule:
        """The module of the dialect with today's weights and biases; `tvm_tiny.build` takes it."""
        return self.apply_to(self.graph)

    def apply_to(self, module: tvm.IRModule) -> tvm.IRModule:
        """Put weights and biases into layers of the same names of a module of the dialect."""
        values = {n: (layer.weight, layer.bias) for n, layer in self.layers.items()}
        return with_constants(module, values)

    # Construction.

    def _step(self, binding: relax.VarBinding, single: bool) -> Step:
        call = binding.value
        if isinstance(call, relax.Tuple):
            return Step("tuple", lambda *values: None, (), binding.var)
        inputs = tuple(a for a in call.args if isinstance(a, ir.Var))
        if call.op.name == "relax.reshape":
            shape = tuple(int(extent) for extent in binding.var.ty.shape)
            return Step("reshape", _Reshape(shape), inputs, binding.var)
        attrs = attributes_of(call)
        if call.op.name in LAYERS:
            layer = self._linear(call, attrs, single)
            return Step(attrs.layer, layer, inputs, binding.var)
        if call.op.name not in FUNCTIONS:
            raise UnsupportedError(f"no torch form of {call.op.name}", where=attrs.layer)
        return Step(attrs.layer, _bound(call, attrs), inputs, binding.var)

    def _linear(self, call: ir.Call, attrs: Any, single: bool) -> Linear:
        constants = tuple(c.value.numpy() for c in call.args[1:])
        if not attrs.layer:
            raise ModelError(f"a {call.op.name} without a name", hint="set its attribute `layer`")
        layer = Linear(attrs, constants, single)
        self.add_module(attrs.layer, layer)
        return layer

    # Execution.

    def _run(self, inputs: tuple[Tensor, ...], last: ir.Var | None) -> dict[ir.Var, Tensor]:
        if len(inputs) != len(self._main.params):
            raise InputError(
                "wrong number of inputs", limit=len(self._main.params), found=len(inputs)
            )
        values = {}
        for var, value in zip(self._main.params, inputs, strict=True):
            shape = tuple(int(extent) for extent in var.ty.shape)
            if tuple(value.shape[1:]) != shape[1:]:
                raise InputError(
                    "wrong shape", where=var.name, limit=shape, found=tuple(value.shape)
                )
            values[var] = value.double()
        for step in self._steps:
            values[step.output] = step.run(*[values[var] for var in step.inputs])
            if last is not None and step.output.same_as(last):
                break
        return values


class _Reshape:
    """A reshape that keeps a batch, where the first axis is the batch before and behind."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __call__(self, data: Tensor) -> Tensor:
        batch = data.shape[0]
        if self.shape[0] == 1:
            return data.reshape(batch, *self.shape[1:])
        if batch == 1:
            return data.reshape(self.shape)
        raise UnsupportedError("a batch through a reshape that folds its axis", found=self.shape)


def _bound(call: ir.Call, attrs: Any) -> Callable[..., Tensor]:
    """The operator's function with its constant arguments in place."""
    function = FUNCTIONS[call.op.name]
    constants = [
        torch.from_numpy(value.copy()).double() if isinstance(value, np.ndarray) else None
        for value in arguments_of(call)
    ]

    def run(*values: Tensor) -> Tensor:
        given = iter(values)
        device = values[0].device
        return function(attrs, *[next(given) if c is None else c.to(device) for c in constants])

    return run


def _groups(update: LayerUpdate, layer: Linear) -> list[dict[str, Any]]:
    """Parameter groups of one layer; `scale` is of each output channel, along `axis`."""
    groups: list[dict[str, Any]] = []
    if update.weight_channels:
        groups.append({"params": [layer.weight], "name": f"{update.layer}.weight"})
        groups[-1].update(scale=layer.weight_scale, axis=layer.channel_axis, limit=LARGEST_WEIGHT)
        is_whole = len(update.weight_channels) == layer.weight.shape[-1]
        groups[-1].update(channels=() if is_whole else update.weight_channels)
    if update.bias:
        groups.append({"params": [layer.bias], "name": f"{update.layer}.bias", "channels": ()})
        groups[-1].update(scale=layer.bias_scale, axis=0, limit=LARGEST_BIAS)
    return groups


def _bindings(module: tvm.IRModule) -> list[relax.VarBinding]:
    return [binding for block in module["main"].body.blocks for binding in block.bindings]
