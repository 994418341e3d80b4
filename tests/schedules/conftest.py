from __future__ import annotations

import pytest

from tests.schedules.suite import Suite
from tests.support.kernels import Library, build
from tests.support.quick import names_that_run


@pytest.fixture(scope="module")
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """All kernels of the test module's SUITE whose tests run, compiled at once."""
    suite = request.module.SUITE
    assert isinstance(suite, Suite)
    return build(
        suite.jobs(names_that_run(request, suite.names)), tmp_path_factory.mktemp("kernels")
    )
