"""Every pass in turn leaves the values of real models as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm

from tests.support.evaluate_tiny import evaluate, operators
from tests.support.shared import REPOSITORY, shared_path
from tvm_tiny import load
from tvm_tiny.pipeline import GRAPH_PASSES
from tvm_tiny.relay_passes.quantized_to_tiny import QuantizedToTiny
from tvm_tiny.schedules.dialect import spec_of

DIGITS = REPOSITORY / "examples" / "digits" / "digits.onnx"
POSITION = next(i for i, step in enumerate(GRAPH_PASSES) if isinstance(step, QuantizedToTiny))


def stages(module: tvm.IRModule) -> list[tuple[str, tvm.IRModule]]:
    """Return the module after each pass, from the integer dialect on."""
    found = []
    for step in GRAPH_PASSES:
        module = step(module)
        found.append((step.name, module))
    return found[POSITION:]


def check(module: tvm.IRModule) -> list[str]:
    """Assert that all stages agree; return the operators of the last."""
    generator = np.random.default_rng(0)
    first, *others = stages(module)
    inputs = [_random(generator, parameter) for parameter in first[1]["main"].params]
    expected = evaluate(first[1], *inputs)
    for name, stage in others:
        for actual, wanted in zip(evaluate(stage, *inputs), expected, strict=True):
            np.testing.assert_array_equal(actual, wanted, err_msg=name)
    return operators(others[-1][1])


def _random(generator: np.random.Generator, parameter: Any) -> Any:
    spec = spec_of(parameter)
    if spec.dtype == "float32":
        return generator.normal(0, 1, spec.shape).astype("float32")
    return generator.integers(-128, 128, spec.shape, spec.dtype)


@pytest.mark.parametrize("name", ["kws01_dscnn_int8", "ic01_resnet8_int8", "ad01_int8"])
def test_tflite_models(name: str) -> None:
    names = check(load(shared_path("models", "mlperf_tiny", f"{name}.tflite")))
    assert "transpose" not in names and "pad" not in names


def test_the_digits_model_has_no_transposes_left() -> None:
    names = check(load(DIGITS))
    assert "transpose" not in names
    assert "pad" not in names
