"""Three limits of Flash: three choices, each within its limit, and each faster than the last."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tvm_tiny
from tests.support.shared import shared_path
from tests.tuning.records import EMPTY
from tvm_tiny.pipeline import rewrite
from tvm_tiny.relay_passes.choose_exactly import OPTIMAL, total_cost
from tvm_tiny.relay_passes.choose_kernels import MARGIN_BYTES, Limits
from tvm_tiny.relay_passes.fit_memory import fit_memory
from tvm_tiny.relay_passes.program import Program, program_of
from tvm_tiny.schedules import costs
from tvm_tiny.targets.board import cores
from tvm_tiny.tuning.choose import MeasuredKernels

M4 = cores()["cortex-m4"]
KB = 1 << 10
PARTS = (1.0, 1.2, 2.0)


@pytest.fixture(scope="module")
def resnet() -> Program:
    pytest.importorskip("ortools", exc_type=ImportError)
    path = shared_path("models", "mlperf_tiny", "ic01_resnet8_int8.tflite")
    return program_of(rewrite(tvm_tiny.load(path)), MeasuredKernels(M4, EMPTY))


def limits(program: Program) -> list[int]:
    """Return int8 weights and 40 KB, and multiples of it."""
    enough = sum(layer.weights for layer in program.layers) + 40 * KB
    return [int(part * enough) for part in PARTS]


@pytest.mark.slow
def test_choices_for_three_limits(resnet: Program) -> None:
    kernels, choices, totals = MeasuredKernels(M4, EMPTY), [], []
    for limit in limits(resnet):
        asked = Limits("speed", limit, is_exact=True)
        chosen, _ = fit_memory(resnet, asked, kernels)
        default, _ = fit_memory(resnet, replace(asked, is_exact=False), kernels)
        flash = costs.flash_bytes(layer.chosen.pieces for layer in chosen.layers)
        assert flash <= limit - MARGIN_BYTES and chosen.proof == OPTIMAL
        assert total_cost(chosen) <= total_cost(default)
        choices.append(tuple(layer.chosen.variant for layer in chosen.layers))
        totals.append(total_cost(chosen))
    assert len(set(choices)) == 3
    assert totals == sorted(totals, reverse=True) and len(set(totals)) == 3


@pytest.mark.slow
@pytest.mark.qemu
def test_firmware_for_three_limits(resnet: Program) -> None:
    cycles = []
    path = shared_path("models", "mlperf_tiny", "ic01_resnet8_int8.tflite")
    for limit in limits(resnet):
        result = tvm_tiny.build(path, "cortex-m4", flash=limit, database=EMPTY).profile()
        assert result.flash_code_bytes + result.flash_weights_bytes <= limit
        cycles.append(result.cycles_estimated or 0)
    assert cycles == sorted(cycles, reverse=True) and len(set(cycles)) == 3
