"""QuantizedModule: an int8 model as a torch module with the firmware's arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor
from tvm import ir, relax

from tvm_tiny.errors import InputError, ModelError, UnsupportedError
from tvm_tiny.importers import load
from tvm_tiny.relay_passes.fold_lookups import FoldLookups
from tvm_tiny.relay_passes.fold_pads import FoldPads
from tvm_tiny.relay_passes.quantized_to_tiny import QuantizedToTiny
from tvm_tiny.relay_passes.sink_transposes import SinkTransposes
from tvm_tiny.schedules.dialect import arguments_of, attributes_of
from tvm_tiny.torch.constants import with_constants
from tvm_tiny.torch.linear import LAYERS, Linear
from tvm_tiny.torch.losses import cross_entropy, mean_squared_error
from tvm_tiny.torch.operators import FUNCTIONS
from tvm_tiny.torch.scales import Quantisation, head_of, known_quantisation

# Passes that look at weights would make constants of what is to be trained.
PASSES = (QuantizedToTiny(), SinkTransposes(), FoldPads(), FoldLookups())
INT32_LIMIT = (1 << 31) - 1
LARGEST_WEIGHT = 127


@dataclass(frozen=True)
class Trained:
    """What of a layer is trained; `channels` of the weight's last axis, all where empty."""

    weight: bool = True
    bias: bool = True
    channels: tuple[int, ...] = ()


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
        graph = load(model)
        for graph_pass in PASSES:
            graph = graph_pass(graph)
        return cls(graph, single=single)

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

    def loss(self, data: Tensor, target: Tensor, kind: str = "cross_entropy") -> Tensor:
        """The mean loss of a batch: `cross_entropy` of labels or `mean_squared_error`."""
        losses = {"cross_entropy": cross_entropy, "mean_squared_error": mean_squared_error}
        if kind not in losses:
            raise InputError(f"there is no loss {kind}", hint=f"one of {', '.join(losses)}")
        known = self.logits_quantisation
        return losses[kind](self.logits(data), target, known.scale, known.zero_point)

    def parameters_of_plan(self, plan: Mapping[str, Trained] | None = None) -> list[dict[str, Any]]:
        """Groups for `QuantizedSGD`; everything outside the plan (None: all layers) is frozen."""
        layers = self.layers
        plan = dict.fromkeys(layers, Trained()) if plan is None else plan
        for name in plan:
            if name not in layers:
                hint = f"layers are {', '.join(layers)}"
                raise InputError(f"the model has no layer {name}", hint=hint)
        groups = []
        for name, layer in layers.items():
            chosen = plan.get(name, Trained(weight=False, bias=False))
            layer.weight.requires_grad_(chosen.weight)
            layer.bias.requires_grad_(chosen.bias)
            groups += _groups(name, layer, chosen)
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


def _groups(name: str, layer: Linear, chosen: Trained) -> list[dict[str, Any]]:
    """Parameter groups of one layer; `scale` is what quantisation-aware scaling multiplies by."""
    groups: list[dict[str, Any]] = []
    if chosen.weight:
        scale = layer.weight_scale
        scaling = None if scale is None else layer.per_channel(scale**-2)
        groups.append({"params": [layer.weight], "limit": LARGEST_WEIGHT, "name": f"{name}.weight"})
        groups[-1].update(scaling=scaling, channels=chosen.channels)
    if chosen.bias:
        scale = layer.bias_scale
        scaling = None if scale is None else scale**-2
        groups.append({"params": [layer.bias], "limit": INT32_LIMIT, "name": f"{name}.bias"})
        groups[-1].update(scaling=scaling, channels=())
    return groups


def _bindings(module: tvm.IRModule) -> list[relax.VarBinding]:
    return [binding for block in module["main"].body.blocks for binding in block.bindings]
