"""Whole models and every layer alone, on this machine, under the sanitisers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.shared_models import (
    MCUNET,
    PATHS,
    expected_of,
    host_model,
    needs_tflm,
    path_of,
    samples_of,
)
from tests.support import tflm
from tests.support.explode import explode, layer_inputs
from tests.support.quick import quick_first

FEATURES = [("dsp",), ()]
SLOW = {*MCUNET, "ic", "vww", "kws"}
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PATHS]


@needs_tflm
@quick_first("features", FEATURES, ids=["dsp", "portable"])
@pytest.mark.parametrize("name", NAMES)
def test_whole_model_is_tflm(name: str, features: tuple[str, ...], tmp_path: Path) -> None:
    count = 3 if name in MCUNET else 20
    model = host_model(path_of(name), name, tmp_path, *features)
    output, *_ = model.run([np.concatenate(samples_of(name, count))])
    np.testing.assert_array_equal(output, expected_of(name, count))


@needs_tflm
@quick_first("features", FEATURES, ids=["dsp", "portable"])
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_alone_is_tflm(name: str, features: tuple[str, ...], tmp_path: Path) -> None:
    exploded = explode(path_of(name).read_bytes())
    inputs = layer_inputs(exploded)
    ((*expected,),) = tflm.run(exploded, [inputs])
    model = host_model(exploded, name, tmp_path, *features)
    for port, ours, theirs in zip(model.ports("outputs"), model.run(inputs), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=port.name)
