from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tvm_tiny.quick_script import quick_script

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites expected outputs."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


@pytest.fixture(scope="session", autouse=True)
def _quick_kernels() -> Iterator[None]:
    """Make kernels without TVM's look at all loaded modules, of which tests load many."""
    with quick_script():
        yield


class Golden:
    """Files of expected text below tests/golden."""

    def __init__(self, update: bool) -> None:
        self.update = update

    def check(self, name: str, text: str) -> None:
        """Assert that `text` is what the file holds, or write it there."""
        path = GOLDEN / name
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{path.name} is missing: run pytest --update-golden"
        assert text == path.read_text(), "if the change is meant: pytest --update-golden"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Expected texts, rewritten under --update-golden."""
    return Golden(request.config.getoption("--update-golden"))
