"""Losses, gradients and updates on emulated cores: the same bits as on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.schedules.training import (
    test_adam,
    test_add_gradients,
    test_avg_pool2d_gradient,
    test_bias_gradient,
    test_bias_update,
    test_float_add,
    test_float_clip,
    test_float_concat,
    test_float_losses,
    test_float_mul,
    test_float_pad,
    test_float_pool,
    test_float_resize,
    test_float_softmax,
    test_lookup_gradient,
    test_masked_scale,
    test_max_pool2d_gradient,
    test_mean_gradient,
    test_mean_squared_error,
    test_momentum_velocity,
    test_resize_gradient,
    test_sgd_update,
    test_slice_gradient,
    test_softmax_cross_entropy,
)
from tests.schedules.training.training_cases import Case, compare, same_bits
from tests.support.calls import side_by_side
from tvm_tiny.build_firmware import build

MODULES: tuple[Any, ...] = (
    test_adam,
    test_add_gradients,
    test_avg_pool2d_gradient,
    test_bias_gradient,
    test_bias_update,
    test_float_add,
    test_float_clip,
    test_float_concat,
    test_float_losses,
    test_float_mul,
    test_float_pad,
    test_float_pool,
    test_float_resize,
    test_float_softmax,
    test_lookup_gradient,
    test_masked_scale,
    test_max_pool2d_gradient,
    test_mean_gradient,
    test_mean_squared_error,
    test_momentum_velocity,
    test_resize_gradient,
    test_sgd_update,
    test_slice_gradient,
    test_softmax_cross_entropy,
)
CASES: dict[str, Case] = {
    f"{module.__name__} {name}": case for module in MODULES for name, case in module.CASES.items()
}
CORES = ("cortex-m4", "cortex-m55")


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_firmware_is_host(core: str) -> None:
    count = max(len(case.samples) for case in CASES.values())
    samples = [[c.samples[i % len(c.samples)] for i in range(count)] for c in CASES.values()]
    module, _ = side_by_side([case.call for case in CASES.values()])
    stacked = [np.concatenate(port) for rows in samples for port in zip(*rows, strict=True)]
    firmware = build(module, core, name="training")
    outputs = firmware.run(stacked).outputs
    on_host = firmware.run(stacked, on="host").outputs
    for (name, case), ours, host in zip(CASES.items(), outputs, on_host, strict=True):
        assert same_bits(ours, host), name
        expected = [case.expected[i % len(case.samples)] for i in range(count)]
        compare(ours.reshape(np.shape(expected)), np.stack(expected), 1e-5)
