from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import tirx
from tvm.script import tirx as T

from tests.support.kernels import Job, Request, ask, build, compile_functions
from tvm_tiny.codegen.c_printer import CPrinter, c_type
from tvm_tiny.codegen.lower_kernel import lower_kernel
from tvm_tiny.errors import CompileError
from tvm_tiny.schedules.dialect import Kernel, TensorSpec

A, B, C = (tirx.Var(name, "int32") for name in "abc")
F = tirx.Var("f", "float32")
BYTE = tirx.Var("byte", "int8")


def printed(expr: Any) -> str:
    """Return the C of an expression."""
    lines = CPrinter(tirx.PrimFunc([], tirx.Evaluate(expr))).body()
    return " ".join(line.strip() for line in lines).removesuffix(";")


def int32(value: int) -> Any:
    return tirx.IntImm("int32", value)


EXPRESSIONS = {
    "sum of products": (A * B + C, "a * b + c"),
    "product of sums": (A * (B + C), "a * (b + c)"),
    "left to right": (A - B - C, "a - b - c"),
    "right to left": (A - (B - C), "a - (b - c)"),
    "minus a sum": (A - (B + C), "a - (b + c)"),
    "plus a negative number": (A + int32(-3), "a - 3"),
    "minus a negative number": (tirx.Sub(A, int32(-3)), "a + 3"),
    "times a negative number": (A * int32(-3), "a * -3"),
    "negative number first": (tirx.Sub(int32(-3), A), "-3 - a"),
    "smallest integer": (A + int32(-(1 << 31)), "a + INT32_MIN"),
    "minus the smallest integer": (tirx.Sub(A, int32(-(1 << 31))), "a - INT32_MIN"),
    "quotient of a product": (tirx.Div(A * B, C), "a * b / c"),
    "product with a quotient": (A * tirx.Div(B, C), "a * (b / c)"),
    "remainder": (tirx.Mod(A, B) * C, "a % b * c"),
    "shift of a sum": (tirx.RShift(A + B, C), "(a + b) >> c"),
    "sum of shifts": (tirx.RShift(A, B) + C, "(a >> b) + c"),
    "mask of a comparison": (tirx.BitwiseAnd(A, B) + C, "(a & b) + c"),
    "comparison": (tirx.LT(A + B, C), "a + b < c"),
    "and in or": (
        tirx.Or(tirx.And(tirx.LT(A, B), tirx.LT(B, C)), tirx.LT(A, C)),
        "(a < b && b < c) || a < c",
    ),
    "or of three": (
        tirx.Or(tirx.Or(tirx.LT(A, B), tirx.LT(B, C)), tirx.LT(A, C)),
        "a < b || b < c || a < c",
    ),
    "mask of a sum": (tirx.BitwiseAnd(A + B, C), "(a + b) & c"),
    "mask of a mask": (tirx.BitwiseAnd(tirx.BitwiseAnd(A, B), C), "a & b & c"),
    "shift of a shift": (tirx.RShift(tirx.RShift(A, B), C), "(a >> b) >> c"),
    "or in and": (
        tirx.And(tirx.Or(tirx.LT(A, B), tirx.LT(B, C)), tirx.LT(A, C)),
        "(a < b || b < c) && a < c",
    ),
    "not": (tirx.Not(tirx.LT(A, B)), "!(a < b)"),
    "choice": (tirx.Select(tirx.LT(A, B), A + 1, C), "a < b ? a + 1 : c"),
    "choice in a sum": (tirx.Select(tirx.LT(A, B), A, C) + B, "(a < b ? a : c) + b"),
    "choice in a choice": (
        tirx.Select(tirx.LT(A, B), A, tirx.Select(tirx.LT(B, C), B, C)),
        "a < b ? a : (b < c ? b : c)",
    ),
    "largest": (tirx.Max(A + B, C), "tiny_max(a + b, c)"),
    "smallest": (tirx.Min(A, B) * C, "tiny_min(a, b) * c"),
    "widening a byte": (T.Cast("int32", BYTE) * A, "byte * a"),
    "narrowing": (T.Cast("int8", A + B), "(int8_t)(a + b)"),
    "to float": (T.Cast("float32", A) * F, "(float)a * f"),
    "float numbers": (F * T.float32(0.1), "f * 0.1f"),
    "whole float": (F + T.float32(2), "f + 2.0f"),
    "small float": (F * T.float32(1e-30), "f * 1.00000000e-30f"),
    "function": (T.call_extern("int32", "tiny_f", A + B, C), "tiny_f(a + b, c)"),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expression(name: str) -> None:
    expr, expected = EXPRESSIONS[name]
    text = printed(expr)
    if "float" in name and "e-30" in expected:
        assert float(text.removeprefix("f * ").removesuffix("f")) == pytest.approx(1e-30)
    else:
        assert text == expected


VALUES = {"a": 7, "b": -3, "c": 2}
OPERATIONS: list[tuple[Any, Any]] = [
    (tirx.Add, lambda x, y: x + y),
    (tirx.Sub, lambda x, y: x - y),
    (tirx.Mul, lambda x, y: x * y),
    (tirx.Max, max),
    (tirx.Min, min),
    (lambda x, y: tirx.Select(tirx.LT(x, y), x, y - 1), lambda x, y: x if x < y else y - 1),
    (lambda x, y: tirx.Select(tirx.Or(tirx.EQ(x, y), tirx.And(tirx.LE(x, y), tirx.GT(x, y))), y, x),
     lambda x, y: y if x == y else x),
    (lambda x, y: tirx.BitwiseAnd(x, y), lambda x, y: x & y),
    (lambda x, y: tirx.RShift(x, tirx.BitwiseAnd(y, int32(7))), lambda x, y: x >> (y & 7)),
    (lambda x, y: T.Cast("int32", T.Cast("int8", tirx.Min(tirx.Max(x, y), int32(9)))),
     lambda x, y: ((min(max(x, y), 9) + 128) % 256) - 128),
]  # fmt: skip


def grown(generator: random.Random, depth: int) -> tuple[Any, int]:
    """Return a random expression and its value."""
    if depth == 0:
        name = generator.choice([*VALUES, ""])
        if name:
            return {"a": A, "b": B, "c": C}[name], VALUES[name]
        value = generator.randint(-9, 9)
        return int32(value), value
    make, compute = generator.choice(OPERATIONS)
    (x, x_value), (y, y_value) = (grown(generator, depth - 1) for _ in range(2))
    return make(x, y), compute(x_value, y_value)


@pytest.mark.slow
def test_random_expressions_have_their_value(tmp_path: Path) -> None:
    generator = random.Random(0)
    drawn = [grown(generator, generator.randint(1, 4)) for _ in range(300)]
    fits = [(expr, value) for expr, value in drawn if abs(value) < 1 << 30]
    rows = "".join(f"  out[{i}] = {printed_or_number(e)};\n" for i, (e, _) in enumerate(fits))
    source = (
        "static void call_0(void **arrays) {\n  const int32_t *v = arrays[0];\n"
        "  const int32_t a = v[0], b = v[1], c = v[2];\n  int32_t *out = arrays[1];\n"
        f"{rows}}}\n"
    )
    sanitizers = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    flags = ("-std=c99", "-O1", "-Wparentheses", "-Werror=parentheses", *sanitizers)
    program = compile_functions(source, 1, tmp_path, flags=flags)
    values = np.array(list(VALUES.values()), np.int32)
    (answer,) = ask(program, [Request(0, [values], [np.zeros(len(fits), np.int32)])])
    assert np.frombuffer(answer, np.int32).tolist() == [value for _, value in fits]


def printed_or_number(expr: Any) -> str:
    return str(expr.value) if isinstance(expr, tirx.IntImm) else printed(expr)


def test_an_unknown_expression_is_an_error() -> None:
    ramp = tirx.Ramp(int32(0), int32(1), 4)
    with pytest.raises(CompileError, match="no C for TIR expression Ramp"):
        CPrinter(tirx.PrimFunc([], tirx.Evaluate(ramp))).body()


def test_an_unknown_statement_is_an_error() -> None:
    loop = tirx.While(tirx.LT(A, B), tirx.Evaluate(A))
    with pytest.raises(CompileError, match="no C for TIR statement While"):
        CPrinter(tirx.PrimFunc([], loop)).body()


def test_an_unknown_call_is_an_error() -> None:
    with pytest.raises(CompileError, match=r"no C for TIR call .*exp"):
        printed(tirx.exp(F))


def test_types() -> None:
    assert [c_type(t) for t in ("int8", "int32", "float32")] == ["int8_t", "int32_t", "float"]


@T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
def sums(  # type: ignore[no-untyped-def]
    x: T.Buffer((4, 3), "int8"),  # type: ignore[valid-type]
    unused: T.Buffer((4,), "int32"),  # type: ignore[valid-type]
    y: T.Buffer((4,), "int32"),  # type: ignore[valid-type]
):
    for i in range(4):
        with T.sblock("row"):
            v = T.axis.spatial(4, i)
            acc = T.sblock_alloc_buffer((2,), "int32")
            for j in T.unroll(2):
                acc[j] = 5
            for k in range(3):
                if k > 0:
                    acc[0] = acc[0] + T.Cast("int32", x[v, k])
                else:
                    acc[1] = acc[1] - T.Cast("int32", x[v, k])
            y[v] = acc[0] + acc[1]


def test_a_kernel_reads_as_a_person_would_write_it() -> None:
    lowered = lower_kernel(sums)
    used = CPrinter(lowered).used_parameters()
    assert used == [True, False, True]
    printer = CPrinter(lowered)
    text = "\n".join(printer.body())
    signature = printer.signature("sums", used)
    assert signature == "void sums(const int8_t *restrict x, int32_t *restrict y)"
    assert "#pragma GCC unroll 2\n" in text
    assert "int32_t acc[2];" in text
    assert "acc[0] += x[i * 3 + k];" in text
    assert "} else {" in text


def test_that_kernel_computes(tmp_path: Path) -> None:
    spec = TensorSpec((4,), "int32")
    library = build({"sums": Job(Kernel("sums", sums), spec)}, tmp_path)
    x = np.arange(12, dtype=np.int8).reshape(4, 3)
    (actual,) = library.run("sums", [[x, np.zeros(4, np.int32)]])
    np.testing.assert_array_equal(actual, 10 + x[:, 1:].sum(1) - x[:, 0])


def test_long_signatures_break_into_lines() -> None:
    printer = CPrinter(lower_kernel(sums))
    text = printer.signature(
        "a_name_so_long_that_the_line_would_be_too_long_for_people", [True] * 3
    )
    assert text.count("\n") == 3
    assert all(len(line) <= 100 for line in text.splitlines())
