"""Convolutions of floats and their gradients: torch's = differences = meaning = C."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, floats, same_bits
from tests.support.calls import side_by_side
from tests.support.gradients import CONVOLUTIONS, SAME, Convolution, close, loss, torch_gradients
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.build_firmware import build
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.training.float_conv2d import FLOAT_CONV2D, FloatConv2DAttributes

DEPTHWISE = {
    "depthwise": Convolution((5, 6), 7, 7, (3, 3), padding=(1, 1, 1, 1), groups=7),
    "two outputs for an input": Convolution((5, 4), 3, 6, (2, 3), (2, 1), groups=3),
    "depthwise, 37 channels": Convolution((5, 3), 37, 37, (5, 5), padding=SAME[5], groups=37),
    "depthwise, stride of two": Convolution((8, 8), 24, 24, (7, 7), (2, 2), SAME[7], groups=24),
    "depthwise, strided and dilated": Convolution(
        (11, 12), 9, 9, (3, 3), (2, 4), (2, 3, 1, 2), (2, 2), groups=9
    ),
    "depthwise, uneven padding": Convolution(
        (7, 6), 19, 19, (3, 2), (2, 2), (0, 0, 1, 1), groups=19
    ),
    "depthwise, window larger than the image": Convolution(
        (2, 3), 8, 8, (7, 7), padding=SAME[7], groups=8
    ),
    "depthwise 1x1": Convolution((4, 5), 16, 16, groups=16),
    "seventeen outputs for an input": Convolution((3, 4), 3, 51, (3, 3), (2, 2), SAME[3], groups=3),
}
UPDATE = ("weight", "data", "gradient", "rate", "scale")
ALL = {
    name: replace(convolution, zero_point=0)
    for name, convolution in (CONVOLUTIONS | DEPTHWISE).items()
}


def sample(convolution: Convolution, seed: int) -> dict[str, Array]:
    """Return numbers of all tensors; half of the data of even seeds is zero, as behind a relu."""
    data = floats(convolution.data.shape, seed)
    return {
        "data": np.maximum(data, 0) if seed % 2 == 0 else data,
        "weight": floats(convolution.weight.shape, seed + 10),
        "bias": floats((convolution.outputs,), seed + 20),
        "gradient": convolution.sample(seed)["gradient"],
        "rate": np.full(1, 0.37, np.float32),
        "scale": np.ones(1, np.float32),
    }


def attributes(convolution: Convolution) -> FloatConv2DAttributes:
    return FloatConv2DAttributes(**convolution.window, groups=convolution.groups)


def cases(convolution: Convolution) -> dict[str, Case]:
    of_input, of_weight, update = convolution.operators
    parts: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
        "forward": (FLOAT_CONV2D, attributes(convolution), ("data", "weight", "bias")),
        "input": (of_input, convolution.input_attributes, ("gradient", "weight")),
        "weight": (of_weight, convolution.weight_attributes, ("data", "gradient")),
        "update": (update, convolution.weight_attributes, UPDATE),
    }
    numbers = [sample(convolution, seed) for seed in range(2)]
    return {
        part: Case(operator, attrs, [[values[name] for name in names] for values in numbers])
        for part, (operator, attrs, names) in parts.items()
    }


CASES = {
    f"{name}, {part}": case
    for name, convolution in ALL.items()
    for part, case in cases(convolution).items()
}
FROZEN = sample(ALL["3x3"], 0)
CASES["frozen"] = Case(
    FLOAT_CONV2D,
    attributes(ALL["3x3"]),
    [[FROZEN["data"]]],
    (None, FROZEN["weight"], FROZEN["bias"]),
)


@quick_some("name", CASES, 7)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    results = library.run(f"{name}/portable", CASES[name].samples)
    for result, expected in zip(results, CASES[name].expected, strict=True):
        close(result, expected)


@quick_some("name", ALL, 7)
def test_meaning_is_torch(name: str) -> None:
    convolution, values = ALL[name], sample(ALL[name], 0)
    top, left, bottom, right = convolution.padding
    data, weight, bias = (
        torch.tensor(values[n].astype(np.float64)) for n in ("data", "weight", "bias")
    )
    padded = torch.nn.functional.pad(data.permute(0, 3, 1, 2), (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(
        padded,
        weight.permute(0, 3, 1, 2),
        bias,
        convolution.strides,
        0,
        convolution.dilation,
        convolution.groups,
    )
    ours = FLOAT_CONV2D.meaning(
        attributes(convolution), *map(values.get, ("data", "weight", "bias"))
    )
    close(ours, expected.permute(0, 2, 3, 1).numpy())


@quick_some("name", ALL, 7)
def test_gradients_are_those_of_torch_and_of_differences(name: str) -> None:
    convolution, values = ALL[name], sample(ALL[name], 1)
    found = {part: cases(convolution)[part].expected[1] for part in ("input", "weight")}
    of_data, of_weight = torch_gradients(convolution, values)
    close(found["input"], of_data)
    close(found["weight"], of_weight)
    generator = np.random.default_rng(0)
    for place in generator.integers(0, of_data.size, 4):
        sides = []
        for step in (0.5, -0.5):
            data = values["data"].astype(np.float64)
            data.flat[place] += step
            sides.append(loss(convolution, data, values["weight"], values["gradient"]))
        np.testing.assert_allclose(found["input"].flat[place], sides[0] - sides[1], 1e-4, 1e-4)


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_firmware_has_the_bits_of_the_host(core: str) -> None:
    chosen = {name: case for name, case in CASES.items() if name != "frozen"}
    module, _ = side_by_side([case.call for case in chosen.values()])
    ports = [zip(*case.samples, strict=True) for case in chosen.values()]
    inputs = [np.concatenate(port) for case in ports for port in case]
    firmware = build(module, core, name="convolutions")
    on_host = firmware.run(inputs, on="host").outputs
    for name, ours, host in zip(chosen, firmware.run(inputs).outputs, on_host, strict=True):
        assert same_bits(ours, host), name
