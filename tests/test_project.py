"""Generated projects build without Python and print what `run` gives."""

from __future__ import annotations

import math
import re
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.cli_support import DENSE_SHAPE, MODELS
from tests.support.quick import quick_first
from tests.support.tflite_writer import write
from tvm_tiny import Firmware, build
from tvm_tiny.errors import InputError, TargetError
from tvm_tiny.metadata import hashes, parse
from tvm_tiny.project import render_project, write_project
from tvm_tiny.targets.project import decode, templates
from tvm_tiny.targets.toolchain import find_host_compiler

TARGETS = Path(__file__).resolve().parents[1] / "targets"
TEMPLATES = list(templates())
# the two cores of the brief, one without an FPU or MPU, one with a vector table of its own
CORES = ("mps2-an386", "mps2-an500", "microbit", "mps3-an547")
BUILD_ONLY = "nucleo-l4r5zi"


@cache
def firmware(model: str, target: str) -> Firmware:
    return build(write(MODELS[model]()), target, name=model)


def execute(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run one of a template's own commands in the project."""
    program = command.split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return subprocess.run(
        command.split(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def built(folder: Path, template: str) -> None:
    for command in templates()[template].build:
        result = execute(folder, command)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "warning" not in (result.stdout + result.stderr).lower()


def printed(folder: Path, template: str) -> tuple[list[list[float]], int]:
    """What the firmware prints on the emulator: the outputs' values, and the instructions."""
    result = execute(folder, templates()[template].run)
    assert result.returncode == 0, result.stdout + result.stderr
    outputs = re.findall(r"^output \d+ \S+: (.*)$", result.stdout, re.MULTILINE)
    time = re.search(r"^time: \d+ SysTick ticks of .*: (\d+) instructions$", result.stdout, re.M)
    assert time is not None, result.stdout
    return [[float(value) for value in output.split()] for output in outputs], int(time[1])


@pytest.mark.qemu
@pytest.mark.parametrize("target", CORES[:2])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_prints_what_run_gives(template: str, target: str, tmp_path: Path) -> None:
    compiled = firmware("conv", target)
    write_project(compiled, tmp_path, template)
    built(tmp_path, template)
    outputs, instructions = printed(tmp_path, template)
    expected = compiled.run()
    assert outputs == [expected.output.ravel().tolist()]
    assert expected.instructions is not None
    # a tick is 40 instructions, and the two readings of the timer are not free
    assert abs(instructions - expected.instructions) < 120
    assert printed(tmp_path, template) == (outputs, instructions)


@pytest.mark.qemu
@pytest.mark.parametrize("target", CORES[2:])
def test_other_cores(target: str, tmp_path: Path) -> None:
    compiled = firmware("dense", target)
    write_project(compiled, tmp_path, "make")
    built(tmp_path, "make")
    outputs, instructions = printed(tmp_path, "make")
    expected = compiled.run()
    assert outputs == [expected.output.ravel().tolist()]
    assert expected.instructions is not None
    assert abs(instructions - expected.instructions) < 200


@pytest.mark.qemu
@pytest.mark.parametrize("model", ["two", "add", "floats", "float_input"])
def test_several_inputs_and_outputs_and_floats(model: str, tmp_path: Path) -> None:
    compiled = firmware(model, "mps2-an386")
    write_project(compiled, tmp_path, "make")
    built(tmp_path, "make")
    outputs, _ = printed(tmp_path, "make")
    expected = compiled.run().outputs
    assert len(outputs) == len(expected)
    for values, array in zip(outputs, expected, strict=True):
        assert np.array_equal(np.array(values, array.dtype), array.ravel())


@pytest.mark.qemu
def test_the_sample_is_the_first_of_the_inputs(tmp_path: Path) -> None:
    compiled = firmware("dense", "mps2-an386")
    inputs = np.random.default_rng(5).integers(-128, 128, (3, DENSE_SHAPE[1]), np.int8)
    write_project(compiled, tmp_path, "make", inputs)
    built(tmp_path, "make")
    assert printed(tmp_path, "make")[0] == [compiled.run(inputs).output[0].tolist()]


@pytest.mark.qemu
def test_a_clock_that_overflows_is_counted_on(tmp_path: Path) -> None:
    """A slower emulator lets the counter's 24 bits run over during one inference."""
    compiled = firmware("conv", "mps2-an386")
    write_project(compiled, tmp_path, "make")
    built(tmp_path, "make")
    once = printed(tmp_path, "make")[1]
    makefile = tmp_path / "Makefile"
    makefile.write_text(makefile.read_text().replace("shift=0", "shift=10"))
    timer = tmp_path / "board" / "timer.c"
    timer.write_text(timer.read_text().replace("COUNTER_BITS 24", "COUNTER_BITS 14"))
    built(tmp_path, "make")
    ticks = printed(tmp_path, "make")[1] / 40
    assert ticks > 3 << 14
    assert abs(ticks * 40 / (1 << 10) - once) < 120


@quick_first("name", ["sample", "console", "timer"])
def test_a_model_may_be_called_like_a_file_of_the_project(name: str, tmp_path: Path) -> None:
    write_project(build(write(MODELS["dense"]()), BUILD_ONLY, name=name), tmp_path, "make")
    built(tmp_path, "make")


@quick_first("template", TEMPLATES)
def test_a_build_only_board_builds_and_says_how_to_run(template: str, tmp_path: Path) -> None:
    write_project(firmware("dense", BUILD_ONLY), tmp_path, template)
    built(tmp_path, template)
    assert (tmp_path / "build" / "dense.elf").read_bytes()[:4] == b"\x7fELF"
    result = execute(tmp_path, templates()[template].run)
    assert result.returncode != 0
    assert "debugger" in result.stdout
    assert "processor cycles" in (tmp_path / "src" / "main.c").read_text()


def test_make_size_flash_and_clean(tmp_path: Path) -> None:
    write_project(firmware("dense", "mps2-an386"), tmp_path, "make")
    size = execute(tmp_path, "make size")
    assert (size.returncode, ".weights" in size.stdout) == (0, True), size.stderr
    flash = execute(tmp_path, "make flash")
    assert flash.returncode != 0
    assert "exists in the emulator only" in flash.stdout
    assert "make run" in execute(tmp_path, "make help").stdout
    execute(tmp_path, "make clean")
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("template", TEMPLATES)
def test_projects_are_the_same_every_time_and_name_no_machine(template: str) -> None:
    compiled = firmware("two", "mps2-an386")
    first, second = (render_project(compiled, template) for _ in range(2))
    assert first == second
    assert list(first) == sorted(first)
    for name, text in first.items():
        assert str(TARGETS.parent) not in text, name
        assert not re.search(r"/(home|root|tmp|usr)/", text), name
        assert "{{" not in text, name
        assert text.endswith("\n"), name


def test_metadata_describes_the_files_beside_it(tmp_path: Path) -> None:
    compiled = firmware("dense", "mps2-an386")
    names = write_project(compiled, tmp_path, "make")
    assert all((tmp_path / name).is_file() for name in names)
    metadata = parse((tmp_path / "model" / "metadata.json").read_bytes())
    files = {name: (tmp_path / "model" / name).read_bytes() for name in metadata.files}
    assert metadata.files == hashes(files)
    assert {f"model/{name}" for name in files} | {"model/metadata.json"} == {
        name for name in names if name.startswith("model/")
    }


def test_the_board_files_are_those_of_the_package() -> None:
    files = render_project(firmware("dense", "mps2-an386"), "make")
    for name in ("startup.c", "fault.c", "semihosting.c", "system_registers.h"):
        assert files[f"board/{name}"] == (TARGETS / "firmware" / name).read_text()


def test_floats_in_the_sample_are_exact() -> None:
    compiled = firmware("float_input", "mps2-an386")
    special = np.array([[0.1, -0.0, 1e-45, 3.4028235e38, np.nan, -np.inf]], np.float32)
    sample = render_project(compiled, "make", special)["src/sample.h"]
    row = sample.partition("= {\n")[2].partition("\n}")[0]
    constants = [text.strip() for text in row.rstrip(", ").split(",")]
    assert constants[4:] == ["NAN", "-INFINITY"]
    assert all(text.endswith("f") and "." in text for text in constants[:4])
    values = np.array([float(text[:-1]) for text in constants[:4]], np.float32)
    assert values.tobytes() == special[0, :4].tobytes()
    assert "#include <math.h>" in sample


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="wrong shape"):
        render_project(firmware("dense", "mps2-an386"), "make", np.zeros((1, 7), np.int8))


# --- templates


def test_an_unknown_template_is_refused_with_the_known_ones() -> None:
    known = ", ".join(TEMPLATES)
    with pytest.raises(TargetError, match=rf"known are {known}[\s\S]*did you mean make"):
        render_project(firmware("dense", "mps2-an386"), "maek")


def test_every_file_that_a_manifest_names_exists() -> None:
    for template in templates().values():
        missing = [name for name in template.files.values() if not (TARGETS / name).is_file()]
        assert missing == []
        assert template.build
        assert template.run


def test_a_broken_manifest_is_refused_with_its_fields() -> None:
    with pytest.raises(TargetError, match=r"x/template.toml[\s\S]*the fields are summary, build"):
        decode('summary = "x"\nshiny = true\n', "x/template.toml")


def test_no_code_knows_a_template_by_name() -> None:
    names = "|".join(TEMPLATES)
    for folder in (TARGETS, TARGETS.parent / "tvm_tiny"):
        for path in folder.rglob("*.py"):
            found = re.search(rf"""["']({names})["']""", path.read_text())
            assert found is None, f"{path.name}: {found}"


# --- the console's own formatting of floats

HOST_CONSOLE = """\
#include "console.h"
#include "semihosting.h"
#include <stdio.h>
#include <string.h>

int32_t semihosting_open(const char *name, enum semihosting_mode mode)
{
    (void)name;
    return (int32_t)mode;
}

size_t semihosting_write(int32_t file, const void *buffer, size_t size)
{
    (void)file;
    return fwrite(buffer, 1, size, stdout);
}

int main(void)
{
    uint32_t bits;
    float value;

    while (fread(&bits, sizeof bits, 1, stdin) == 1) {
        memcpy(&value, &bits, sizeof value);
        console_float(value);
        console_text("\\n");
    }
    console_signed(INT64_MIN);
    console_text(" ");
    console_unsigned(UINT64_MAX);
    console_text("\\n");
    return 0;
}
"""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console of projects as a program that prints the floats of its input."""
    folder = tmp_path_factory.mktemp("console")
    (folder / "main.c").write_text(HOST_CONSOLE)
    sources = [TARGETS / "templates" / "shared" / "console.c", folder / "main.c"]
    includes = [f"-I{TARGETS / 'templates' / 'shared'}", f"-I{TARGETS / 'firmware'}"]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", *includes]
    command = [find_host_compiler(), *flags, *map(str, sources), "-o", str(folder / "console")]
    subprocess.run(command, check=True)
    return folder / "console"


def test_printed_floats_are_the_same_floats(console: Path) -> None:
    edges = [0, 1, 2, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x3F800000, 0x7F800000, 0x7FC00000]
    edges += struct.unpack("<6I", struct.pack("<6f", 1e9, 1e8, 999999999, 0.1, 123456.789, 9.5))
    random = np.random.default_rng(0).integers(0, 1 << 32, 20_000, np.uint32)
    bits = np.concatenate(
        [np.array(edges, np.uint32), np.array(edges, np.uint32) | 1 << 31, random]
    )
    shown = subprocess.run([console], input=bits.tobytes(), capture_output=True, check=True).stdout
    *lines, integers = shown.decode().splitlines()
    assert integers == "-9223372036854775808 18446744073709551615"
    values = bits.view(np.float32)
    for line, value in zip(lines, values, strict=True):
        same = np.float32(line) == value or (math.isnan(value) and line == "nan")
        assert same, (line, value)
    assert lines[:2] == ["0.0", "1.40129846e-45"]
