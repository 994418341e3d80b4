"""Models in less memory than their tensors take whole: the bits of TFLite Micro all the same."""

from __future__ import annotations

import pytest

from tests.models.shared_models import check_outputs, needs_tflm, path_of
from tvm_tiny import build
from tvm_tiny.errors import DoesNotFitError

KB = 1024


@needs_tflm
@pytest.mark.qemu
@pytest.mark.parametrize(
    ("name", "core", "sram", "more"),
    [("vww", "cortex-m4", 32_000, 0.4), ("mcunet_vww1", "cortex-m7", 40 * KB, 0.15)],
)
def test_input_by_rows(name: str, core: str, sram: int, more: float) -> None:
    path = path_of(name)
    firmware = build(path, core, sram=sram, input_rows=True)
    check_outputs(firmware, name)
    result, whole = firmware.profile(), build(path, core).profile()
    assert result.patch
    assert result.arena_bytes + (result.stack_bytes or 0) <= sram
    assert result.instructions and whole.instructions
    assert result.instructions <= (1 + more) * whole.instructions


@needs_tflm
@pytest.mark.qemu
def test_strips_with_the_image_in_the_arena() -> None:
    firmware = build(path_of("mcunet_320kb"), "cortex-m4", sram=200_000)
    check_outputs(firmware, "mcunet_320kb")
    assert firmware.metadata.arena_bytes <= 200_000
    assert firmware.metadata.stages


@pytest.mark.slow
def test_what_can_not_fit_names_layer_and_bytes() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        build(path_of("vww"), "cortex-m4", sram=20_000)
    error = caught.value
    assert error.where.startswith("model_")
    assert error.limit == 20_000 and int(str(error.found)) > 27_648  # the image alone
    assert "row by row" in error.hint
