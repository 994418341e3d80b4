"""Stochastic gradient descent on integers, as the firmware does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tvm_tiny.errors import InputError


class QuantizedSGD(torch.optim.Optimizer):
    """w = clip(round(w - rate * scaling * gradient)), rounding halves to even.

    `groups` are those of `QuantizedModule.parameters_of_plan`. `qas` is quantisation-aware
    scaling: gradients of weights times s_w^-2, of biases times (s_w s_x)^-2. With `momentum` the
    velocity is kept in float; the step that it makes is rounded.
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
            if qas and group["scaling"] is None:
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
        gradient = parameter.grad
        assert gradient is not None
        if group["momentum"]:
            state = self.state[parameter]
            velocity = state.setdefault("velocity", torch.zeros_like(parameter))
            gradient = velocity.mul_(group["momentum"]).add_(gradient)
        scaling = group["scaling"] if group["qas"] else None
        new = updated(parameter, gradient, group["lr"], scaling, group["limit"])
        channels = list(group["channels"])
        if channels:
            parameter[..., channels] = new[..., channels]
        else:
            parameter.copy_(new)


def updated(
    parameter: Tensor, gradient: Tensor, rate: float, scaling: Tensor | None, limit: int
) -> Tensor:
    """The new integers; where a gradient is not finite the old ones."""
    step = gradient * rate if scaling is None else gradient * (rate * scaling)
    new = torch.round(parameter - step).clamp(-limit, limit)
    return torch.where(gradient.isfinite(), new, parameter)
