"""Text files of this package, as they are or filled in as templates."""

from __future__ import annotations

from functools import cache
from importlib import resources

import jinja2


def read_file(path: str) -> str:
    """The text of a file; `path` is relative to this package."""
    return resources.files(__package__).joinpath(path).read_text("utf-8")


def render(template: str, /, **values: object) -> str:
    """A template filled in; `template` is its path relative to this package."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_file),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["hex"] = "{:#010x}".format
    return environment
