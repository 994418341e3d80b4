"""Micro-kernels: functions in assembly that are made for a layer, and how TIR calls them.

A micro-kernel is its code for one class of cores beside the same function in plain C, which every
other machine compiles. Both stand in the generated sources; equal ones stand there once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import ir, tirx
from tvm.script import tirx as T


@dataclass(frozen=True)
class MicroKernel:
    """One function; `name` tells all that it depends on, so that equal names are equal code.

    `parameters` is the C parameter list, `assembly` the function's lines for cores with DSP
    instructions, or, unless it `needs_dsp`, for all with long multiplies; or, if it `needs_helium`,
    only for those with Helium. `plain` is the same function's statements in C. `summary` says what
    it does.
    """

    name: str
    parameters: str
    summary: str
    assembly: tuple[str, ...]
    plain: tuple[str, ...]
    needs_dsp: bool = True
    needs_helium: bool = False


def call(name: str, *arguments: tirx.Expr | int) -> tirx.Expr:
    """A call of the C function `name`; an element of a buffer is passed by its address."""
    passed = [T.address_of(a) if isinstance(a, ir.TensorLoad) else a for a in arguments]
    return T.call_extern("int32", name, *passed)


class Registers:
    """Names for registers within a function, so that its code reads like what it computes."""

    def __init__(self, **names: str) -> None:
        """`names` maps a name to the register that it stands for."""
        self.names = names

    def wrap(self, body: Sequence[str]) -> tuple[str, ...]:
        """The function's lines, with the names that they use declared before, released behind."""
        words = set(re.findall(r"\w+", "\n".join(body)))
        used = {name: register for name, register in self.names.items() if name in words}
        declared = [f"{name} .req {register}" for name, register in used.items()]
        return (*declared, *body, *(f".unreq {name}" for name in used))


def indent(lines: Sequence[str]) -> list[str]:
    """Assembly lines as a file holds them: labels and names at the margin."""
    at_margin = (":", ".req", ".unreq")
    return [line if any(mark in line for mark in at_margin) else f"  {line}" for line in lines]
