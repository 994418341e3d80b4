"""Every error a user can see, in one place: what, where, limit and found, hint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a model: where it is, what it is, what would help."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        """One line: `where: what (hint: ...)`."""
        return f"{self.where}: {self.what}" + (f" (hint: {self.hint})" if self.hint else "")


class StaleRecordsWarning(UserWarning):
    """Records of a database were made for other kernels or by another compiler; not an error."""


class TinyError(Exception):
    """Base of all errors for users; never raised itself."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        limit: object = None,
        found: object = None,
        hint: str = "",
    ) -> None:
        """Keep the parts, so that callers can act on them, and print them as one message."""
        self.what, self.where, self.limit, self.found, self.hint = what, where, limit, found, hint
        lines = [f"{where}: {what}" if where else what]
        if limit is not None or found is not None:
            lines.append(f"limit {limit}, found {found}")
        if hint:
            lines.append(f"hint: {hint}")
        super().__init__("\n  ".join(lines))


class ModelError(TinyError):
    """The model file or module is broken or breaks a rule of its own format."""

    def __init__(self, what: str, *, problems: Sequence[Problem] = (), **parts: object) -> None:
        """List every problem found, one a line."""
        self.problems = tuple(problems)
        listed = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(what + listed, **parts)  # type: ignore[arg-type]


class UnsupportedError(ModelError):
    """The model is sound but uses operators, types or shapes that have no kernel here."""


class PlanError(TinyError):
    """A plan of what to train is broken, or does not fit the model."""


class InputError(TinyError):
    """An array or file given to `run` or `profile` has the wrong shape, dtype or number."""


class TargetError(TinyError):
    """An unknown or self-contradicting target, core or board."""


class DoesNotFitError(TinyError):
    """The firmware needs more SRAM or Flash than the target has."""


class MissingToolError(TinyError):
    """A program that the project needs (compiler, emulator) is not installed."""


class MissingExtraError(TinyError):
    """An optional Python package is not installed; the hint names the extra that brings it."""


class CompileError(TinyError):
    """The C compiler or linker refused generated code: a defect of this project."""


class FaultError(TinyError):
    """The firmware took a processor fault; names the operator, the pc and the address."""


class HangError(TinyError):
    """The firmware did not end within the host's time limit."""


class ArtefactError(TinyError):
    """A saved firmware folder or tar is broken, or of an unknown version."""


class TrainingError(TinyError):
    """A step of training that could not be made; weights are as they were."""
