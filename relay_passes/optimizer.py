"""How a state follows its gradient: kinds of gradient descent, and what they keep between steps."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.errors import UnsupportedError

KINDS = ("sgd", "momentum", "adam")


@dataclass(frozen=True)
class Optimizer:
    """Gradient descent ("sgd"), with momentum, or Adam.

    `is_scaled` multiplies gradients of int8 models by the quantisation-aware scales; Adam does not
    train those. The learning rate is an argument of each step.
    """

    kind: str = "sgd"
    is_scaled: bool = True
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse what is no optimizer."""
        if self.kind not in KINDS:
            raise UnsupportedError(
                "an unknown optimizer", where="optimizer", found=self.kind, limit=", ".join(KINDS)
            )
        shares = {name: getattr(self, name) for name in ("momentum", "beta1", "beta2")}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise UnsupportedError(
                    f"{name} is not in [0, 1)", where="optimizer", found=f"{share}"
                )
        if not self.epsilon > 0:
            raise UnsupportedError(
                "epsilon is not above 0", where="optimizer", found=f"{self.epsilon}"
            )

    @classmethod
    def parse(cls, text: str) -> Optimizer:
        """One of BY_NAME."""
        if text not in BY_NAME:
            raise UnsupportedError(
                "an unknown optimizer", where="optimizer", found=text, limit=", ".join(BY_NAME)
            )
        return BY_NAME[text]


BY_NAME = {
    "sgd_qas": Optimizer(),
    "sgd": Optimizer(is_scaled=False),
    "momentum": Optimizer("momentum"),
    "sgd_momentum": Optimizer("momentum"),
    "sgd_momentum_unscaled": Optimizer("momentum", is_scaled=False),
    "adam": Optimizer("adam"),
}
