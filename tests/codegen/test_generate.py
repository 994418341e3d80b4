"""Generated C as text, as other compilers see it, and as an API."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.conftest import Golden
from tests.relay_passes.modules import looked_up, module, tensor
from tests.support import one_operator as one
from tests.support.kernels import RUNTIME
from tests.support.quick import quick_first
from tests.support.tflite_writer import Model, write
from tvm_tiny.codegen.generate import GeneratedCode
from tvm_tiny.importers.from_tflite import from_tflite
from tvm_tiny.pipeline import compile_module
from tvm_tiny.schedules import qadd

MODELS: dict[str, Callable[[], Model]] = {
    "conv": lambda: one.conv2d((1, 5, 4, 2), 3, activation="RELU6"),
    "residual": lambda: one.binary("ADD", (1, 3, 3, 4), (1, 1, 1, 4)),
    "softmax": lambda: one.softmax((2, 5)),
}
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
COMPILERS = {
    "gcc": ["gcc"],
    "gcc as C++ header": ["g++", "-std=c++14"],
    "cortex-m3": ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb"],
    "cortex-m4": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"],
}


def code_of(name: str) -> GeneratedCode:
    return compile_module(from_tflite(write(MODELS[name]())), name).code


def written(code: GeneratedCode, folder: Path) -> list[str]:
    """Write the sources; return the names of those to compile."""
    for name, text in code.files.items():
        (folder / name).write_text(text)
    return [name for name in code.files if name.endswith(".c")]


def compiled(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize("name", MODELS)
def test_golden(name: str, golden: Golden) -> None:
    code = code_of(name)
    for file, text in code.files.items():
        if file.startswith(name):
            golden.check(f"{name}/{file}", text)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_gives_the_same_bytes(name: str) -> None:
    assert code_of(name) == code_of(name)


@quick_first("compiler", ["gcc", "cortex-m3", "cortex-m4"])
@quick_first("features", [("dsp",), ()], ids=["dsp", "portable"])
def test_no_compiler_warns(compiler: str, features: tuple[str, ...], tmp_path: Path) -> None:
    command = COMPILERS[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    for name in MODELS:
        code = compile_module(from_tflite(write(MODELS[name]())), name, features).code
        folder = tmp_path / name
        folder.mkdir()
        compiled([*command, *WARNINGS, "-O2", "-c", *written(code, folder)], folder)


def test_the_header_is_cpp_too(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    written(code_of("conv"), tmp_path)
    (tmp_path / "use.cpp").write_text('#include "conv.h"\nint main() { return conv_run(0); }\n')
    compiled(["g++", "-Wall", "-Wextra", "-Werror", "-c", "use.cpp"], tmp_path)


# A program that checks what the header promises; it prints the line that fails.
PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "residual.h"

#define CHECK(condition) \\
  do { if (!(condition)) { printf("line %d: %s\\n", __LINE__, #condition); return 1; } } while (0)

static uint8_t memory[RESIDUAL_ARENA_BYTES + RESIDUAL_ARENA_ALIGN]
    __attribute__((aligned(RESIDUAL_ARENA_ALIGN)));

int main(void) {
  residual_context ctx, other;
  memset(&ctx, 0, sizeof ctx);
  CHECK(residual_run(NULL) == RESIDUAL_ERROR_NULL);
  CHECK(residual_run(&ctx) == RESIDUAL_ERROR_NOT_READY);
  CHECK(residual_input(&ctx, 0) == NULL && residual_output(&ctx, 0) == NULL);
  CHECK(residual_input(NULL, 0) == NULL && residual_output(NULL, 0) == NULL);
  CHECK(residual_init(NULL, memory, sizeof memory) == RESIDUAL_ERROR_NULL);
  CHECK(residual_init(&ctx, NULL, sizeof memory) == RESIDUAL_ERROR_NULL);
  CHECK(residual_init(&ctx, memory, RESIDUAL_ARENA_BYTES - 1) == RESIDUAL_ERROR_ARENA_SIZE);
  CHECK(residual_run(&ctx) == RESIDUAL_ERROR_NOT_READY);
  CHECK(residual_init(&ctx, memory + 1, RESIDUAL_ARENA_BYTES) == RESIDUAL_ERROR_ARENA_ALIGN);
  CHECK(residual_run(&ctx) == RESIDUAL_ERROR_NOT_READY);
  CHECK(residual_init(&ctx, memory, RESIDUAL_ARENA_BYTES) == RESIDUAL_OK);
  CHECK(RESIDUAL_INPUT_COUNT == 2 && RESIDUAL_OUTPUT_COUNT == 1);
  CHECK(RESIDUAL_INPUT_0_BYTES == 36 && RESIDUAL_INPUT_1_BYTES == 4);
  CHECK(RESIDUAL_INPUT_BYTES == 36 && RESIDUAL_OUTPUT_BYTES == 36);
  CHECK(residual_input(&ctx, 2) == NULL && residual_output(&ctx, 1) == NULL);
  CHECK(residual_input(&ctx, 0xffffffffu) == NULL);
  memset(residual_input(&ctx, 0), 5, 36);
  memset(residual_input(&ctx, 1), -9, 4);
  CHECK(residual_run(&ctx) == RESIDUAL_OK);
  const int8_t *result = residual_output(&ctx, 0);
  CHECK(result[0] == result[35]);

  static uint8_t second[RESIDUAL_ARENA_BYTES] __attribute__((aligned(RESIDUAL_ARENA_ALIGN)));
  int8_t before[36];
  memcpy(before, result, 36);
  CHECK(residual_init(&other, second, sizeof second) == RESIDUAL_OK);
  memset(residual_input(&other, 0), 100, 36);
  memset(residual_input(&other, 1), 100, 4);
  CHECK(residual_run(&other) == RESIDUAL_OK);
  CHECK(memcmp(before, residual_output(&ctx, 0), 36) == 0);
  CHECK(memcmp(before, residual_output(&other, 0), 36) != 0);

  const residual_model_info *info = residual_info();
  CHECK(strcmp(info->name, "residual") == 0);
  CHECK(info->arena_bytes == RESIDUAL_ARENA_BYTES && info->layer_count == 1);
  CHECK(info->input_count == 2 && info->output_count == 1);
  CHECK(strcmp(info->inputs[1].name, "right") == 0 && strcmp(info->inputs[1].dtype, "int8") == 0);
  CHECK(info->inputs[0].rank == 4 && info->inputs[0].shape[3] == 4);
  CHECK(info->inputs[0].scale == 0.03f && info->inputs[0].zero_point == 5);
  return 0;
}
"""


def test_the_api_keeps_its_promises(tmp_path: Path) -> None:
    names = written(code_of("residual"), tmp_path)
    (tmp_path / "main.c").write_text(PROGRAM)
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compiled(["gcc", "-std=gnu99", "-O1", *sanitizers, *names, "main.c", "-o", "check"], tmp_path)
    done = subprocess.run([tmp_path / "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# What must not break the sources


def run_of(mod: tvm.IRModule, name: str = "m") -> GeneratedCode:
    return compile_module(mod, name).code


def check_sources(code: GeneratedCode, folder: Path) -> None:
    compiled(["gcc", *WARNINGS, "-c", *written(code, folder)], folder)


HOSTILE = ['"; int x = 1; /*', "*/ #include <evil.h>", "a\nb", "int", "模型", "x" * 300, "??/"]


def test_hostile_names(tmp_path: Path) -> None:
    models = one.binary("ADD", (1, 2), (1, 2))
    for number, name in enumerate(HOSTILE):
        other = HOSTILE[number - 1]
        tensors = tuple(
            replace(tensor, name=text)
            for tensor, text in zip(models.tensors, (name, other, name), strict=True)
        )
        code = run_of(from_tflite(write(replace(models, tensors=tensors))))
        folder = tmp_path / str(number)
        folder.mkdir()
        check_sources(code, folder)
        assert "#include <evil.h>" not in "".join(
            line for text in code.files.values() for line in text.splitlines() if line[:1] == "#"
        )


def test_names_of_tensors_that_become_one_identifier(tmp_path: Path) -> None:
    def body(emit: Any, a: Any, b: Any) -> Any:
        attrs = qadd.attributes((0.1, 0.2, 0.3), (1, 2, 3))
        return emit(qadd.QADD(attrs, emit(looked_up(a), name_hint="A"), b), name_hint="a_")

    shapes = [tensor("a", (2, 3)), tensor("A_", (2, 3))]
    check_sources(run_of(module(shapes, body)), tmp_path)


def test_a_model_that_does_nothing(tmp_path: Path) -> None:
    check_sources(run_of(module([tensor("x", (2, 3))], lambda emit, x: x)), tmp_path)


def test_several_outputs_one_of_them_an_input(tmp_path: Path) -> None:
    def body(emit: Any, x: Any) -> Any:
        return relax.Tuple([emit(looked_up(x)), x])

    code = run_of(module([tensor("x", (2, 3))], body))
    check_sources(code, tmp_path)
    assert "#define M_OUTPUT_COUNT 2" in code.files["m.h"]


def test_a_tensor_of_many_axes(tmp_path: Path) -> None:
    code = run_of(module([tensor("x", (1, 2, 1, 3, 1, 2))], lambda emit, x: emit(looked_up(x))))
    check_sources(code, tmp_path)
    assert "int32_t shape[6];" in code.files["m.h"]


def test_equal_kernels_and_constants_are_one() -> None:
    table = np.arange(127, -129, -1)

    def body(emit: Any, x: Any) -> Any:
        return emit(looked_up(emit(qadd_self(emit(looked_up(x, table)))), table))

    code = run_of(module([tensor("x", (2, 3))], body))
    kernels = code.files["m_kernels.c"]
    assert kernels.count("void m_lookup_") == 1
    assert "Layers 00, 02." in kernels
    assert code.files["m_weights.c"].count("_table_") == 1
    assert len(code.layer_symbols) == 3


def qadd_self(x: Any) -> Any:
    return qadd.QADD(qadd.attributes((0.1, 0.1, 0.2), (0, 0, 0)), x, x)


def test_the_runtime_header_is_the_projects() -> None:
    assert code_of("softmax").files["tvm_tiny.h"] == (RUNTIME / "tvm_tiny.h").read_text()


def test_weight_bytes_are_counted() -> None:
    code = code_of("softmax")
    assert code.weight_bytes == 1024
    assert "1024 bytes of constants" in code.files["softmax.h"]


def test_equal_layers_stay_functions_of_their_own(tmp_path: Path) -> None:
    """Compilers merge equal functions, and profiles would count both as one."""

    def body(emit: Any, x: Any) -> Any:
        for _ in range(4):  # the arena's two places alternate: layers 0 and 2 are equal, 1 and 3
            x = emit(qadd_self(x))
        return x

    code = run_of(module([tensor("x", (2, 3))], body))
    compiled(["gcc", "-O2", "-std=c99", "-c", *written(code, tmp_path)], tmp_path)
    symbols = subprocess.run(
        ["nm", "m.o"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    addresses = [line.split()[0] for line in symbols.stdout.splitlines() if "_layer_" in line]
    assert len(addresses) == len(set(addresses)) == 4
