"""The interface of models whose input arrives by call-back, as a user's program sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.relay_passes.test_schedule_stages import bottlenecks
from tests.support.random_nets import program_of_nets, with_kernels
from tvm_tiny.codegen.generate import generate
from tvm_tiny.relay_passes.fit_memory import Staging, fit_memory

PROGRAM = r"""
#include "rows.h"
#include <stdio.h>
#include <string.h>

static uint8_t arena[ROWS_ARENA_BYTES] __attribute__((aligned(ROWS_ARENA_ALIGN)));
static int next_row, limit = 1000;

static int read_rows(void *user, int first_row, int rows, int8_t *dst) {
  if (first_row != next_row || first_row + rows > limit || user != arena) {
    return 1;
  }
  next_row += rows;
  memset(dst, 7, (size_t)rows * ROWS_INPUT_0_ROW_BYTES);
  return 0;
}

int main(void) {
  rows_context context;
  printf("%d ", rows_init(&context, arena, sizeof arena));
  printf("%d ", rows_input(&context, 0) == NULL);
  printf("%d ", rows_run(&context) == ROWS_ERROR_NO_SOURCE);
  printf("%d ", rows_set_source(&context, 1, read_rows, arena) == ROWS_ERROR_NULL);
  printf("%d ", rows_set_source(&context, 0, read_rows, arena));
  printf("%d ", rows_run(&context));
  printf("%d ", next_row);
  next_row = 0;
  limit = 8;
  printf("%d\n", rows_run(&context) == ROWS_ERROR_SOURCE);
  return 0;
}
"""


def test_rows_come_in_order_and_errors_have_codes(tmp_path: Path) -> None:
    program = with_kernels(program_of_nets([bottlenecks(1).net()]))
    fitted, plan = fit_memory(program, staging=Staging(input_rows=True))
    files = generate(fitted, plan, "rows").files
    for name, text in {**files, "main.c": PROGRAM}.items():
        (tmp_path / name).write_text(text)
    sources = sorted(str(path) for path in tmp_path.glob("*.c"))
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    command = ["gcc", "-std=c99", *warnings, "-fsanitize=address,undefined", *sources]
    subprocess.run([*command, "-o", str(tmp_path / "rows")], check=True)
    done = subprocess.run([str(tmp_path / "rows")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "1", "1", "0", "0", "16", "1"]


def test_the_header_says_what_is_asked_for() -> None:
    program = with_kernels(program_of_nets([bottlenecks(1).net()]))
    fitted, plan = fit_memory(program, staging=Staging(input_rows=True))
    header = generate(fitted, plan, "rows").files["rows.h"]
    assert "#define ROWS_INPUT_0_ROW_BYTES 64" in header
    assert (
        "typedef int (*rows_read_rows)(void *user, int first_row, int rows, int8_t *dst);" in header
    )


@pytest.mark.parametrize("name", ["rows", "model", "stage"])
def test_any_name_will_do(name: str, tmp_path: Path) -> None:
    program = with_kernels(program_of_nets([bottlenecks(1).net()]))
    fitted, plan = fit_memory(program, staging=Staging(input_rows=True))
    files = generate(fitted, plan, name).files
    assert f"{name}.h" in files and "while (tiny_rows_open(" in files[f"{name}.c"]
