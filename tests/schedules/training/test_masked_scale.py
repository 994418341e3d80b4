from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import (
    Case,
    check,
    compare,
    edges,
    floats,
    mask_of,
    rows,
)
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.dialect import Array, Attributes
from tvm_tiny.schedules.training.masked_scale import (
    MASK_GRADIENT,
    MASKED_SCALE,
    SCALE_GRADIENT,
    ScaleAttributes,
)

SHAPES = [
    *((1, 1, 1, 1), (1, 3, 5, 7), (1, 2, 2, 8), (1, 4, 4, 48), (1, 3, 3, 40), (1, 2, 3, 33)),
    *((1, 3, 3, 12), (1, 96), (1, 2, 1, 64), (1, 1, 5, 31), (1, 3, 5, 32)),
]


def masks(count: int) -> list[Array]:
    """Return random masks, dense and sparse, and those of all or nothing."""
    return [mask_of(count, share=share) for share in (0.5, 0.97, 0.03, 1, 0)]


def mask_samples(shape: tuple[int, ...]) -> list[list[Array]]:
    count = int(np.prod(shape))
    kinds = [floats(shape), edges(shape)]
    return [[gradient, mask] for gradient in kinds for mask in masks(count)]


CASES = {
    f"mask {shape}": Case(MASK_GRADIENT, Attributes(), mask_samples(shape)) for shape in SHAPES
}
for shape in SHAPES:
    for scale in (floats((shape[-1],), 3), np.full(1, 0.37, np.float32)):
        CASES[f"scale {shape} {scale.size}"] = Case(
            SCALE_GRADIENT, ScaleAttributes(), [[floats(shape)], [edges(shape)]], (None, scale)
        )
        CASES[f"masked scale {shape} {scale.size}"] = Case(
            MASKED_SCALE, ScaleAttributes(), mask_samples(shape), (None, None, scale)
        )
        CASES[f"masked run-time scale {shape} {scale.size}"] = Case(
            MASKED_SCALE, ScaleAttributes(), [[*sample, scale] for sample in mask_samples(shape)]
        )
    by_rows = ScaleAttributes(0.37)
    CASES[f"scale {shape} by rows"] = Case(
        SCALE_GRADIENT, by_rows, [[floats(shape)], [edges(shape)]], (None, rows(shape[-1]))
    )
    CASES[f"masked scale {shape} by rows"] = Case(
        MASKED_SCALE, by_rows, mask_samples(shape), (None, None, rows(shape[-1]))
    )


@quick_some("name", CASES, 12)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("shape", SHAPES)
def test_meaning_is_torch(shape: tuple[int, ...]) -> None:
    wide = torch.tensor(floats(shape, 1, 2).astype(np.float64), requires_grad=True)
    scale, gradient = floats((shape[-1],), 2), floats(shape, 3)
    is_inside = ((wide >= -1.5) & (wide <= 1.5)).detach().numpy()
    (wide.clamp(-1.5, 1.5) * torch.tensor(scale)).backward(torch.tensor(gradient))
    mask = np.packbits(is_inside.reshape(-1), bitorder="little")
    ours = MASKED_SCALE.meaning(ScaleAttributes(), gradient, mask, scale)
    compare(ours, wide.grad.numpy(), 1e-5)
    apart = MASK_GRADIENT.meaning(
        Attributes(), SCALE_GRADIENT.meaning(ScaleAttributes(), gradient, scale), mask
    )
    np.testing.assert_array_equal(ours, apart)


def test_nothing_passes_where_the_bit_is_0() -> None:
    gradient = np.full((1, 9), np.nan, np.float32)
    ours = MASK_GRADIENT.meaning(Attributes(), gradient, np.zeros(2, np.uint8))
    assert ours.tobytes() == bytes(ours.nbytes)
