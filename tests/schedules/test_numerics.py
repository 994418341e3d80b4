"""The fixed-point functions against a literal reading of gemmlowp, the C helpers against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernels import PATTERN, Request, ask, compile_functions
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.qsoftmax import reciprocal

INT32 = (-(1 << 31), (1 << 31) - 1)
EDGES = [0, 1, -1, 2, -2, 3, -3, 255, -255, 1 << 29, -(1 << 29), (1 << 30) - 1, 1 - (1 << 30)]
WIDE_EDGES = [*EDGES, 1 << 30, -(1 << 30), INT32[1], -INT32[1], INT32[0]]
MULTIPLIERS = [0, 1 << 30, (1 << 30) + 1, 1518500250, INT32[1] - 1, INT32[1]]


def truncating_divide(a: int, b: int) -> int:
    return abs(a) // b * (1 if a >= 0 else -1)


def gemmlowp_high_mul(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul, statement by statement."""
    if a == b == INT32[0]:
        return INT32[1]
    product = a * b
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    return truncating_divide(product + nudge, 1 << 31)


def gemmlowp_rounding_divide(x: int, exponent: int) -> int:
    """RoundingDivideByPOT, statement by statement."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if remainder > threshold else 0)


def some(seed: int, low: int, high: int, count: int = 300) -> list[int]:
    """Return random numbers, as many small ones as large ones."""
    generator = np.random.default_rng(seed)
    uniform = generator.integers(low, high, count, endpoint=True)
    return [int(n) for n in (*uniform, *(uniform >> generator.integers(0, 30, count)))]


@pytest.mark.parametrize(
    ("real", "multiplier", "shift"),
    [
        (1.0, 1 << 30, 1),
        (0.5, 1 << 30, 0),
        (0.75, 3 << 29, 0),
        (1.5, 3 << 29, 1),
        (2.0**-31, 1 << 30, -30),
        (2.0**-32, 1 << 30, -31),
        (2.0**-33, 0, 0),
        (0.0, 0, 0),
        (1 - 2.0**-40, 1 << 30, 1),  # rounds up to a power of two
        (2.0**29, 1 << 30, 30),
        (0.1, 1717986918, -3),
    ],
)
def test_quantize_multiplier(real: float, multiplier: int, shift: int) -> None:
    assert [int(n) for n in numerics.quantize_multiplier(real)] == [multiplier, shift]


def test_quantize_multiplier_of_arrays() -> None:
    reals = 10.0 ** np.random.default_rng(0).uniform(-8, 8, 1000)
    multiplier, shift = numerics.quantize_multiplier(reals)
    assert multiplier.dtype == shift.dtype == np.int32
    assert (multiplier >= 1 << 30).all()
    np.testing.assert_allclose(multiplier * 2.0 ** (shift - 31.0), reals, rtol=2.0**-31)


def test_a_huge_multiplier_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match=r"multiplier of 2\^30 or more") as caught:
        numerics.quantize_multiplier([0.5, 2.0**30])
    assert caught.value.found == 2.0**30


def test_high_mul_is_gemmlowps() -> None:
    for a, b in [
        *((a, b) for a in WIDE_EDGES for b in WIDE_EDGES if (a, b) != (INT32[0], INT32[0])),
        *zip(some(1, *INT32), some(2, *INT32), strict=True),
    ]:
        assert numerics.high_mul(a, b) == gemmlowp_high_mul(a, b)


def test_rounding_divide_is_gemmlowps() -> None:
    for x in (*WIDE_EDGES, *some(3, *INT32)):
        for exponent in (0, 1, 2, 7, 8, 30, 31):
            actual = numerics.rounding_divide_by_power_of_two(x, exponent)
            assert actual == gemmlowp_rounding_divide(x, exponent)


@pytest.mark.parametrize(("x", "exponent", "expected"), [(5, 1, 3), (-5, 1, -3), (6, 2, 2)])
def test_halves_go_away_from_zero(x: int, exponent: int, expected: int) -> None:
    assert numerics.rounding_divide_by_power_of_two(x, exponent) == expected


def test_round_half_away() -> None:
    values = np.array([0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, -0.49999997, 8388609.0, np.inf])
    expected = [1, -1, 2, 3, -3, 0, 0, 8388609, np.inf]
    rounded = numerics.round_half_away(values.astype(np.float32))
    np.testing.assert_array_equal(rounded, expected)


def test_clamp_int8() -> None:
    clamped = numerics.clamp_int8(np.array([-1000, -128, 5, 127, 1000]))
    assert clamped.dtype == np.int8
    assert clamped.tolist() == [-128, -128, 5, 127, 127]
    assert numerics.clamp_int8(np.array([-9, 0, 9]), -3, 4).tolist() == [-3, 0, 4]


# Functions of tvm_tiny.h as f(a, b, c), and what they are in numpy.
HELPERS = (
    "tiny_requantize",
    "tiny_requantize_any",
    "tiny_requantize_wide",
    "tiny_requantize_wide_any",
)
CALL = """
static void call_{number}(void **a) {{
  const int32_t *x = a[0], *y = a[1], *z = a[2], *n = a[3];
  int32_t *result = a[4];
  for (int32_t i = 0; i < *n; ++i) {{
    (void)x; (void)y; (void)z;
    result[i] = {expression};
  }}
}}
"""
EXPRESSIONS = {
    **{name: f"{name}(x[i], y[i], z[i])" for name in HELPERS},
    "tiny_high_mul": "tiny_high_mul(x[i], y[i])",
    "tiny_round_shift": "tiny_round_shift(x[i], y[i])",
    "tiny_round_divide": "tiny_round_divide(x[i], y[i])",
    "tiny_clamp": "tiny_clamp(x[i], y[i], z[i])",
    "tiny_reciprocal": "tiny_reciprocal(x[i])",
    "tiny_reciprocal_shift": "tiny_reciprocal_shift(x[i])",
    "tiny_leading_zeros": "tiny_leading_zeros(x[i])",
    "tiny_quantize": "tiny_quantize(((const float *)a[0])[i], ((const float *)a[1])[i], z[i])",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    functions = [
        CALL.format(number=number, expression=expression)
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    return compile_functions("".join(functions), len(functions), tmp_path_factory.mktemp("helpers"))


def run(program: Path, name: str, *columns: list[int] | list[float]) -> list[int]:
    """Return the helper's result for each row of arguments."""
    count = len(columns[0])
    arrays = [np.array(c, np.float32 if isinstance(c[0], float) else np.int32) for c in columns]
    arrays += [np.zeros(count, np.int32)] * (3 - len(arrays))
    arrays.append(np.array([count], np.int32))
    output = np.full(4 * count, PATTERN, np.uint8)
    request = Request(list(EXPRESSIONS).index(name), arrays, [output])
    return np.frombuffer(ask(program, [request])[0], np.int32).tolist()


@pytest.mark.parametrize("name", HELPERS)
def test_c_requantize_is_numpys(name: str, program: Path) -> None:
    is_wide, is_any = "wide" in name, name.endswith("any")
    accumulators = WIDE_EDGES[:-1] if is_wide else EDGES
    drawn = some(4, *INT32) if is_wide else some(4, -(1 << 30) + 1, (1 << 30) - 1)
    rows = [
        (acc, multiplier, shift)
        for acc in (*accumulators, *drawn)
        for multiplier in MULTIPLIERS
        for shift in (range(-31, 8) if is_any else range(32))
        if abs(acc) << max(shift if is_any else 0, 0) < 1 << (31 if is_wide else 30)
    ]
    acc, multiplier, shift = (list(column) for column in zip(*rows, strict=True))
    signed = shift if is_any else [-s for s in shift]
    expected = numerics.requantize(acc, multiplier, signed)
    assert run(program, name, acc, multiplier, shift) == expected.tolist()


def test_c_high_mul_is_numpys(program: Path) -> None:
    pairs = [(a, b) for a in WIDE_EDGES for b in WIDE_EDGES if (a, b) != (INT32[0], INT32[0])]
    a, b = (list(column) for column in zip(*pairs, strict=True))
    assert run(program, "tiny_high_mul", a, b) == numerics.high_mul(a, b).tolist()


def test_c_round_shift_is_numpys(program: Path) -> None:
    pairs = [(x, e) for x in (*WIDE_EDGES, *some(5, *INT32)) for e in (*range(13), 30, 31)]
    x, exponent = (list(column) for column in zip(*pairs, strict=True))
    expected = numerics.rounding_divide_by_power_of_two(x, exponent)
    assert run(program, "tiny_round_shift", x, exponent) == expected.tolist()


def test_c_round_divide(program: Path) -> None:
    pairs = [(t, c) for t in range(-200, 201) for c in (1, 2, 3, 4, 9, 49)]
    total, count = (list(column) for column in zip(*pairs, strict=True))
    expected = numerics.round_half_away(np.array(total) / np.array(count)).astype(int)
    assert run(program, "tiny_round_divide", total, count) == expected.tolist()


def test_c_clamp(program: Path) -> None:
    assert run(program, "tiny_clamp", [-9, 0, 9], [-3] * 3, [4] * 3) == [-3, 0, 4]


def test_c_reciprocal_is_numpys(program: Path) -> None:
    totals = [1 << 19, (1 << 19) + 1, (1 << 20) - 1, (1 << 30) + 12345, INT32[1]]
    totals += some(6, 1 << 19, INT32[1])[:300]
    values, bits = zip(*map(reciprocal, totals), strict=True)
    assert run(program, "tiny_reciprocal", totals) == list(values)
    assert run(program, "tiny_reciprocal_shift", totals) == [b + 31 - 8 for b in bits]
    zeros = [32 - total.bit_length() for total in totals]
    assert run(program, "tiny_leading_zeros", totals) == zeros


QUANTIZED = {
    0.5: 1, -0.5: -1, 1.5: 2, 2.5: 3, -2.5: -3, 0.49999997: 0, -0.49999997: 0, 126.49999: 126,
    127.5: 127, -128.5: -128, 1e30: 127, -1e30: -128, np.inf: 127, -np.inf: -128, 1e-42: 0,
}  # fmt: skip


def test_c_quantize_rounds_halves_away_and_saturates(program: Path) -> None:
    values = [float(value) for value in QUANTIZED]
    ones = [1.0] * len(values)
    assert run(program, "tiny_quantize", values, ones, [0] * len(values)) == [*QUANTIZED.values()]
    (result,) = run(program, "tiny_quantize", [float("nan")], [1.0], [0])
    assert -128 <= result <= 127
