"""Memory of the MLPerf Tiny models against the bars of the project."""

from __future__ import annotations

import pytest

from tests.models.shared_models import MLPERF, path_of
from tests.support.quick import quick_first
from tvm_tiny import build, load
from tvm_tiny.pipeline import Compiled, compile_module

# bytes of arena without kernels' scratch, which may take SCRATCH more
ARENA = {"kws": 16_000, "ic": 49_152, "vww": 55_296, "ad": 768}
SCRATCH = 2048
CODE = 40 << 10


def compiled(name: str, *features: str) -> Compiled:
    return compile_module(load(path_of(name)), name, features)


@quick_first("features", [("dsp",), (), ("dsp", "mve")], ids=["dsp", "portable", "mve"])
@quick_first("name", sorted(MLPERF), 3)
def test_arena(name: str, features: tuple[str, ...]) -> None:
    plan = compiled(name, *features).plan
    assert plan.arena_bytes <= ARENA[name] + (SCRATCH if features else 0)
    assert plan.arena_bytes == plan.lower_bound_bytes


@quick_first("name", ["kws", "ic"])
def test_the_same_bytes_twice(name: str) -> None:
    assert compiled(name, "dsp").code == compiled(name, "dsp").code


@pytest.mark.qemu
@pytest.mark.parametrize("board", ["mps2-an385", "mps2-an386"])
@pytest.mark.parametrize("name", MLPERF)
def test_code_size(name: str, board: str) -> None:
    firmware = build(path_of(name), board)
    assert firmware.image.sizes.flash_code_bytes <= CODE
