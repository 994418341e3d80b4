"""Calls from TIR to the functions of the C runtime."""

from __future__ import annotations

from tvm import ir, tirx
from tvm.script import tirx as T


def call(name: str, *arguments: tirx.Expr | int) -> tirx.Expr:
    """A call of the runtime's function `name`; an element of a buffer is passed by its address."""
    passed = [T.address_of(a) if isinstance(a, ir.TensorLoad) else a for a in arguments]
    return T.call_extern("int32", name, *passed)
