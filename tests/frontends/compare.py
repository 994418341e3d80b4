"""Compare a compiled net with the runtime of the tool that quantised it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.nets import NETS
from tvm_tiny.firmware import Firmware

Array = np.ndarray[Any, Any]

SAMPLES = 50
# The project's bar: this share of elements within one step of the reference.
BAR = 0.995


@dataclass(frozen=True)
class Agreement:
    """How far outputs are from the reference, in steps of the output's quantisation."""

    within_one: float
    exact: float
    largest: float
    spread: float  # of the reference itself, to see that the comparison means something

    def __str__(self) -> str:
        return (
            f"within one step {self.within_one:.2%}, exact {self.exact:.2%}, "
            f"largest {self.largest:.1f} steps, spread {self.spread:.1f} steps"
        )


def agreement(outputs: Array, reference: Array, step: float) -> Agreement:
    """Compare outputs with the reference, sample by sample."""
    distance = np.abs(outputs.reshape(reference.shape) - reference) / step
    return Agreement(
        within_one=float(np.mean(distance < 1.01)),
        exact=float(np.mean(distance < 0.01)),
        largest=float(distance.max()),
        spread=float((reference / step).std(axis=0).mean()),
    )


def check_layers(firmware: Firmware, name: str, tensors: Collection[str]) -> None:
    """Assert that layers carry the model's names, and that inner layout changes have cancelled."""
    layers = firmware.metadata.layers
    transposes = [layer.name for layer in layers if layer.op == "transpose"]
    assert len(transposes) == NETS[name].input_transposes, transposes
    known = {identifier(tensor) for tensor in tensors}
    foreign = [layer.name for layer in layers if layer.name.removesuffix("_nhwc") not in known]
    assert not foreign, foreign


def identifier(tensor: str) -> str:
    """Return a tensor's name as importers write it."""
    name = re.sub(r"\W", "_", tensor).strip("_")
    return name if name[:1].isalpha() else f"t{name}"
