"""The table of a run: whole headings, a total, names that can be told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tvm_tiny.metadata import StageInfo
from tvm_tiny.report import WIDTH, render
from tvm_tiny.result import LayerResult, RunResult

LAYERS = (
    LayerResult("blocks_0_mobile_inverted_conv_depth_conv_conv_1", "qdepthwise_conv2d", 1_115_136,
                16_046_264, 11_815_294, 123_904),
    LayerResult("blocks_0_mobile_inverted_conv_depth_conv_conv_2", "qconv2d", 991_232,
                4_019_161, 2_799_487, 61_952),
    LayerResult("probabilities [bold]", "qsoftmax", 0, 1_217, 1_621, 12),
)  # fmt: skip
RESULT = RunResult(
    outputs=(np.zeros((1, 12), np.int8),),
    output_ports=(),
    target="board",
    core="core",
    arena_bytes=16_000,
    arena_lower_bound_bytes=16_000,
    peak_tensor_bytes=15_000,
    memory_steps={"as listed": 20_000, "in place": 16_000},
    patch=(StageInfo(0, 3, 500, (2, 2, 2, 2)),),
    stack_bytes=160,
    flash_code_bytes=3_944,
    flash_weights_bytes=28_332,
    instructions=400_000_000,
    cycles_estimated=300_000_000,
    cycles_error="to 20 %",
    layers=LAYERS,
)


def test_the_table_is_readable() -> None:
    lines = render(RESULT).splitlines()
    assert max(map(len, lines)) <= WIDTH <= 110
    heading = next(line for line in lines if " layer " in line)
    assert heading.split() == ["#", "layer", "operator", "MACs", "instructions", "MAC", "share",
                               "(estimated)", "bytes"]  # fmt: skip
    rows = [line for line in lines if "qconv2d" in line or "qdepthwise_conv2d" in line]
    assert len({line.split()[1] for line in rows}) == 2
    assert rows[0].split()[-6:-4] == ["16,046,264", "14.39"]
    assert "[bold]" in render(RESULT)  # names are no markup
    assert lines[-1] == "Cycles are estimated: to 20 %"


def test_the_total_is_that_of_the_run_function() -> None:
    total = next(line for line in render(RESULT).splitlines() if "TOTAL" in line)
    assert total.split() == "TOTAL 2,106,368 400,000,000 189.90 100.0 % 300,000,000 -".split()


def test_what_was_not_measured_is_left_out() -> None:
    layers = tuple(replace(layer, instructions=None, cycles_estimated=None) for layer in LAYERS)
    host = replace(
        RESULT,
        instructions=None,
        cycles_estimated=None,
        cycles_error="",
        stack_bytes=None,
        layers=layers,
    )
    text = render(host)
    assert "stack" not in text
    assert "Cycles are estimated" not in text
    assert "None" not in text


def test_what_passes_saved_is_told() -> None:
    text = " ".join(render(RESULT).split())
    assert "20,000 as listed -> 16,000 in place, layers 0-3 by strips" in text
