"""Stochastic gradient descent on integers, with the bits of the firmware's update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tvm_tiny.errors import InputError
from tvm_tiny.schedules.training.adam import moment
from tvm_tiny.schedules.training.float_steps import along, step

ONE = np.ones(1, np.float32)


class QuantizedSGD(torch.optim.Optimizer):
    """w = clip(round(w - rate * scaling * gradient)), rounding halves to even, in float32.

    `groups` are those of `QuantizedModule.parameters_of_plan`. `qas` is quantisation-aware
    scaling: gradients of weights count s_w^-2, those of biases (s_w s_x)^-2. With `momentum` the
    velocity of scaled gradients is kept in float32. The learning rate may change in
    `param_groups`, as torch's schedulers change it.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        rate: float,
        *,
        qas: bool = True,
        momentum: float = 0.0,
    ) -> None:
        """Check that all scales are known where they are needed."""
        for group in groups:
            if qas and group["scale"] is None:
                raise InputError(
                    "quantisation-aware scaling needs the scales of activations",
                    where=group["name"],
                    hint="make the module from the imported model, or give qas=False",
                )
        super().__init__(groups, {"lr": rate, "qas": qas, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = _numbers(parameter.grad)
        scaling = scaling_of(group)
        if group["momentum"]:
            velocity = self.state[parameter].get("velocity", np.zeros_like(gradient))
            factors = (group["momentum"], 1.0)
            gradient = moment(velocity, gradient, scaling, group["axis"], factors)
            self.state[parameter]["velocity"], scaling = gradient, ONE
        old = parameter.cpu().numpy().astype(np.int8 if group["limit"] < 128 else np.int32)
        factor = along(np.float32(group["lr"]) * scaling, old, group["axis"])
        new = step(old, np.broadcast_to(factor, old.shape), gradient, group["limit"])
        chosen = list(group["channels"]) or slice(None)
        parameter[..., chosen] = torch.from_numpy(new).to(parameter)[..., chosen]


def scaling_of(group: dict[str, Any]) -> np.ndarray[Any, Any]:
    """What gradients of a group count, by output channel, float32."""
    if not group["qas"]:
        return ONE
    return (1 / group["scale"].cpu().numpy() ** 2).astype(np.float32)


def _numbers(gradient: Tensor | None) -> np.ndarray[Any, Any]:
    assert gradient is not None
    return gradient.detach().cpu().numpy().astype(np.float32)
