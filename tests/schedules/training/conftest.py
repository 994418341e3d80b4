from __future__ import annotations

import pytest

from tests.schedules.training.training_cases import library_of
from tests.support.kernels import Library
from tests.support.quick import names_that_run


@pytest.fixture(scope="module")
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """All kernels of the test module's CASES whose tests run, compiled at once."""
    cases = request.module.CASES
    run = {name: cases[name] for name in names_that_run(request, cases)}
    return library_of(run, tmp_path_factory.mktemp("kernels"))
