"""Models with a second arena in fast memory give the same outputs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.cli_support import MODELS
from tests.relay_passes.test_patches import check, patched
from tests.support.net_runs import compiled, expected_outputs, inputs_of, run_on_core, run_on_host
from tests.support.quick import quick_first
from tests.support.random_nets import Net, program_of_nets, random_net, with_kernels
from tests.support.tflite_writer import write
from tvm_tiny import build
from tvm_tiny.firmware import open_firmware
from tvm_tiny.project import write_project
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Program
from tvm_tiny.targets.project import templates

PARTS = (0.2, 0.6, 1.0)  # of the one arena's size
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def nets_of(first: int, count: int) -> tuple[range, list[Net]]:
    seeds = range(first, first + count)
    return seeds, [random_net(seed) for seed in seeds]


def part_of(program: Program, part: float) -> int:
    return int(plan_arena(program).arena_bytes * part)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_random_nets_give_the_same(part: float) -> None:
    seeds, nets = nets_of(2000, 4)
    inputs = inputs_of(nets)
    program = with_kernels(program_of_nets(nets, ()))
    fast_bytes = part_of(program, part)
    assert compiled(program, fast_bytes).plan.fast_bytes > 0
    check(run_on_host(program, inputs, fast_bytes), expected_outputs(nets, inputs), seeds)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_patches_give_the_same(part: float) -> None:
    seeds, nets = nets_of(2010, 4)
    inputs = inputs_of(nets)
    program = patched(nets, seeds, ())
    outputs = run_on_host(program, inputs, part_of(program, part))
    check(outputs, expected_outputs(nets, inputs), seeds)


@pytest.mark.qemu
@pytest.mark.parametrize("board", ["mps2-an500", "mps3-an547"])
def test_boards_give_the_same(board: str) -> None:
    seeds, nets = nets_of(2020, 4)
    inputs = inputs_of(nets)
    program = patched(nets, seeds, ())
    outputs = run_on_core(program, inputs, board, part_of(program, 0.5))
    check(outputs, expected_outputs(nets, inputs), seeds)


@pytest.mark.qemu
@pytest.mark.parametrize("model", ["conv", "two"])
def test_builds_are_saved_and_become_projects(model: str, tmp_path: Path) -> None:
    source = write(MODELS[model]())
    alone = build(source, "mps2-an500", name=model)
    firmware = build(source, "mps2-an500", name=model, fast_sram=1024)
    assert firmware.metadata.fast_arena_bytes > 0
    assert firmware.metadata.arena_bytes < alone.metadata.arena_bytes
    expected = alone.run().outputs
    firmware.save(tmp_path / "saved")
    for one in (firmware, open_firmware(tmp_path / "saved")):
        for given, wanted in zip(one.run().outputs, expected, strict=True):
            assert np.array_equal(given, wanted)
    write_project(firmware, tmp_path / "project", "make")
    for command in (*templates()["make"].build, templates()["make"].run):
        done = subprocess.run(
            command.split(), cwd=tmp_path / "project", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr
    for wanted in expected:
        assert " ".join(map(str, wanted.ravel().tolist())) in done.stdout


@quick_first("board", ["nucleo-h743zi", "stm32f746g-disco"])
def test_boards_without_emulator_are_linked(board: str) -> None:
    firmware = build(write(MODELS["conv"]()), board, name="conv", fast_sram=16384)
    assert firmware.metadata.fast_arena_bytes > 0


PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "nets.h"

#define CHECK(condition) \\
  do { if (!(condition)) { printf("line %d: %s\\n", __LINE__, #condition); return 1; } } while (0)

static uint8_t slow[NETS_ARENA_BYTES] __attribute__((aligned(NETS_ARENA_ALIGN)));
static uint8_t fast[NETS_FAST_ARENA_BYTES + 1] __attribute__((aligned(NETS_FAST_ARENA_ALIGN)));

int main(void) {
  nets_context ctx;
  memset(&ctx, 0, sizeof ctx);
  const size_t size = sizeof slow, fast_size = sizeof fast - 1;
  CHECK(nets_init(&ctx, slow, size, NULL, fast_size) == NETS_ERROR_NULL);
  CHECK(nets_init(&ctx, NULL, size, fast, fast_size) == NETS_ERROR_NULL);
  CHECK(nets_init(&ctx, slow, size - 1, fast, fast_size) == NETS_ERROR_ARENA_SIZE);
  CHECK(nets_init(&ctx, slow, size, fast, fast_size - 1) == NETS_ERROR_ARENA_SIZE);
  CHECK(nets_init(&ctx, slow, size, fast + 1, fast_size) == NETS_ERROR_ARENA_ALIGN);
  CHECK(nets_run(&ctx) == NETS_ERROR_NOT_READY);
  CHECK(nets_init(&ctx, slow, size, fast, fast_size) == NETS_OK);
  for (unsigned index = 0; index < NETS_INPUT_COUNT; ++index) {
    const uint8_t *at = nets_input(&ctx, index);
    CHECK((at >= slow && at < slow + size) || (at >= fast && at < fast + fast_size));
    memset(nets_input(&ctx, index), 0, nets_info()->inputs[index].bytes);
  }
  CHECK(nets_run(&ctx) == NETS_OK);
  return 0;
}
"""


@pytest.mark.slow
def test_the_api_keeps_its_promises(tmp_path: Path) -> None:
    _, nets = nets_of(2030, 3)
    program = with_kernels(program_of_nets(nets, ()))
    files = compiled(program, part_of(program, 0.5)).code.files
    for name, text in (files | {"main.c": PROGRAM}).items():
        (tmp_path / name).write_text(text)
    sources = sorted(path.name for path in tmp_path.glob("*.c"))
    command = ["gcc", "-std=gnu99", "-O1", "-Wall", "-Wextra", "-Werror", *SANITIZERS, *sources]
    for line in ([*command, "-lm", "-o", "check"], ["./check"]):
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
