from __future__ import annotations

import numpy as np
import pytest

from tvm_tiny.schedules import linear_form, qadd
from tvm_tiny.schedules.linear_form import VALUES, LinearForm


def computed(form: LinearForm) -> np.ndarray:
    sums = VALUES[:, np.newaxis] * form.first + VALUES * form.second + form.offset
    return np.clip(sums >> form.shift, -128, 127)


@pytest.mark.parametrize("seed", range(10))
def test_form_is_the_meaning_for_all_pairs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scales = tuple(float(s) for s in 2.0 ** generator.uniform(-1, 1, 3))
    points = tuple(int(p) for p in generator.integers(-128, 128, 3))
    attrs = qadd.attributes(scales, points, 1 if seed % 2 else -1)  # type: ignore[arg-type]
    form = qadd.form(attrs)
    assert form is not None
    left, right = np.meshgrid(VALUES, VALUES, indexing="ij")
    np.testing.assert_array_equal(computed(form), qadd.meaning(attrs, left, right))


def test_halves_away_from_zero_have_a_form_too() -> None:
    assert qadd.form(qadd.attributes((0.5, 0.25, 0.5), (3, -9, 0))) is not None


def test_what_is_no_plane_has_no_form() -> None:
    results = np.where(VALUES[:, np.newaxis] * VALUES > 0, 10, -10)
    assert linear_form.linear_form(results, (0.5, 0.5)) is None
