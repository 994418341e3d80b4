"""Turning foreign exceptions into the project's errors, with every problem listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tvm

from tvm_tiny.errors import ModelError, Problem, TinyError, UnsupportedError

UNSUPPORTED = (
    NotImplementedError,
    tvm.error.OpNotImplemented,
    tvm.error.OpAttributeUnImplemented,
)
MAX_REASON = 300


def reason_of(error: BaseException) -> str:
    """Return the line of an exception that says what is wrong, without TVM's C++ frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("File ", "Traceback", "^", "#"))]
    checks = [line for line in telling if "Check failed" in line]
    text = " ".join(checks[-1:] or telling) or type(error).__name__
    return text if len(text) <= MAX_REASON else text[:MAX_REASON] + "..."


def raise_problems(
    what: str, broken: Sequence[Problem] = (), unsupported: Sequence[Problem] = ()
) -> None:
    """Raise one error that lists all problems; do nothing if there are none."""
    if broken:
        raise ModelError(f"{what} is broken", problems=(*broken, *unsupported))
    if unsupported:
        raise UnsupportedError(f"{what} is not supported", problems=unsupported)


@contextmanager
def foreign_errors(what: str, where: str) -> Iterator[None]:
    """Run code of TVM, ONNX, torch or flatbuffers; any exception becomes one of ours."""
    try:
        yield
    except TinyError:
        raise
    except UNSUPPORTED as error:
        problem = Problem(where, reason_of(error))
        raise UnsupportedError(f"{what} is not supported", problems=[problem]) from error
    except Exception as error:
        problem = Problem(where, f"{type(error).__name__}: {reason_of(error)}")
        raise ModelError(f"{what} cannot be imported", problems=[problem]) from error
