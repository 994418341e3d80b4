"""Compare a compiled net with the runtime of the tool that quantised it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.nets import NETS
from tvm_tiny.firmware import Firmware
from tvm_tiny.importers.names import identifier

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
    bases = {layer.name: re.sub(r"_nhwc$|_part_\d+$", "", layer.name) for layer in layers}
    # a number tells names apart that are the same in their last characters
    foreign = [
        name for name, base in bases.items() if not {base, re.sub(r"_\d+$", "", base)} & known
    ]
    assert not foreign, foreign
