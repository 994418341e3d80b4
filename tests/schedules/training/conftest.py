from __future__ import annotations

import pytest

from tests.schedules.training.training_cases import library_of
from tests.support.kernels import Library


@pytest.fixture(scope="module")
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """All kernels of the test module's CASES, compiled at once."""
    return library_of(request.module.CASES, tmp_path_factory.mktemp("kernels"))
