"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.cli_support import DENSE_SHAPE, UNITS, write_models
from tvm_tiny.cli import main
from tvm_tiny.cli.array_files import read_inputs, unique_names
from tvm_tiny.errors import InputError
from tvm_tiny.targets.target import all_targets

RUN_FIELDS = [
    "target",
    "core",
    "arena_bytes",
    "arena_lower_bound_bytes",
    "peak_tensor_bytes",
    "memory_steps",
    "stack_bytes",
    "flash_code_bytes",
    "flash_weights_bytes",
    "instructions",
    "cycles_estimated",
    "patch",
    "outputs",
    "layers",
]
OUTPUT_FIELDS = ["name", "shape", "dtype", "scale", "zero_point"]
LAYER_FIELDS = [
    *("name", "op", "macs", "instructions", "cycles_estimated", "output_bytes", "kernel"),
]


def tiny(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    """The output of a command that must succeed."""
    result = tiny(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def dense(models: Path) -> Path:
    return models / "dense.tflite"


@pytest.fixture(scope="module")
def artefact(dense: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artefact") / "dense.tar"
    done("build", dense, "--target", "cortex-m4", "-o", path)
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    values = np.random.default_rng(7).integers(-128, 128, (3, DENSE_SHAPE[1]), np.int8)
    np.save(path, values)
    return path


# --- what is refused

REFUSALS = {
    "no command": ([], 2, "Usage"),
    "unknown command": (["fly"], 2, "No such command"),
    "no target": (["run", "MODEL"], 2, "Missing option '--target'"),
    "no model": (["run", "no.tflite", "--target", "cortex-m4"], 2, "does not exist"),
    "no place to write": (["build", "MODEL", "--target", "cortex-m4"], 2, "--output"),
    "bad size": (["run", "MODEL", "--target", "cortex-m4", "--sram", "12q"], 2, "256k or 1M"),
    "unknown goal": (
        ["run", "MODEL", "--target", "cortex-m4", "--optimize", "fast"],
        2,
        "'fast' is not one of 'speed', 'balanced', 'size'",
    ),
    "unknown target": (["run", "MODEL", "--target", "cortex-m44"], 1, "did you mean cortex-m4"),
    "too much SRAM": (
        ["run", "MODEL", "--target", "microbit", "--sram", "1M"],
        1,
        "more than the board has",
    ),
    "does not fit": (
        ["run", "MODEL", "--target", "cortex-m4", "--sram", "64"],
        1,
        "limit 64, found",
    ),
    "unknown template": (
        ["project", "MODEL", "--target", "cortex-m4", "--template", "mak", "-o", "p"],
        1,
        "did you mean make",
    ),
    "no template": (["project", "MODEL", "--target", "cortex-m4", "-o", "p"], 2, "--template"),
    "unknown output kind": (
        ["run", "MODEL", "--target", "cortex-m4", "--output", "y.txt"],
        2,
        "must end in .npy or .npz",
    ),
    "no folder for output": (
        ["run", "MODEL", "--target", "cortex-m4", "--output", "no/y.npy"],
        1,
        "cannot write no",
    ),
    "no folder for JSON": (["targets", "--json", "no/t.json"], 1, "cannot write no"),
    "JSON is a folder": (["targets", "--json", "."], 1, "it is a folder"),
    "not a model": (["run", "TEXT", "--target", "cortex-m4"], 1, "kind of the file is not known"),
    "not an artefact": (["run", "EMPTY"], 1, "no metadata.json"),
    "not a tar": (["run", "BAD.tar"], 1, "not an artefact's tar"),
    "no input file": (
        ["run", "MODEL", "--target", "cortex-m4", "--input", "no.npy"],
        2,
        "does not exist",
    ),
    "broken input": (
        ["run", "MODEL", "--target", "cortex-m4", "--input", "TEXT"],
        1,
        "not a .npy or .npz",
    ),
    "artefact with a limit": (["run", "ARTEFACT", "--sram", "64k"], 2, "--sram cannot change"),
    "artefact with a name": (["profile", "ARTEFACT", "--name", "x"], 2, "--name cannot change"),
    "artefact with a goal": (["run", "ARTEFACT", "--optimize", "size"], 2, "--optimize cannot"),
    "artefact for another target": (
        ["run", "ARTEFACT", "--target", "cortex-m7"],
        1,
        "built for cortex-m4, not cortex-m7",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(
    case: str, dense: Path, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, code, message = REFUSALS[case]
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    for name in ("TEXT", "BAD.tar"):
        Path(name).write_text("plain text")
    given = {"MODEL": dense, "ARTEFACT": artefact}
    result = tiny(*(given.get(argument, argument) for argument in arguments))
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_build_only_board_does_not_run(dense: Path) -> None:
    result = tiny("run", dense, "--target", "nucleo-h743zi")
    assert (result.exit_code, "no emulator" in result.output) == (1, True)


BAD_ARRAYS: dict[str, tuple[np.ndarray[Any, Any], str]] = {
    "wrong dtype": (np.zeros((1, 6), np.int16), "wrong dtype"),
    "wrong shape": (np.zeros((1, 7), np.int8), "wrong shape"),
    "pickled": (np.array([{"a": 1}], dtype=object), "not a .npy or .npz"),
    "no sample": (np.zeros((0, 6), np.int8), "wrong shape"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_wrong_input_arrays(case: str, artefact: Path, tmp_path: Path) -> None:
    array, message = BAD_ARRAYS[case]
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    result = tiny("run", artefact, "--input", tmp_path / "x.npy")
    assert (result.exit_code, message in result.output) == (1, True), result.output


def test_a_truncated_archive_is_one_message(artefact: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, input=np.zeros((1, 6), np.int8))
    whole = path.read_bytes()
    for size in (0, 3, 10, 80, len(whole) - 1):
        path.write_bytes(whole[:size])
        result = tiny("run", artefact, "--input", path)
        assert (result.exit_code, "not a .npy or .npz" in result.output) == (1, True), size
    damaged = whole.replace(b"NUMPY", b"numpy")
    path.write_bytes(damaged)
    assert tiny("run", artefact, "--input", path).exit_code == 1


@pytest.mark.parametrize(("goal", "kernel"), [("speed", "pairs"), ("size", "portable")])
def test_goals_choose_kernels(goal: str, kernel: str, models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conv"
    target = ("--target", "cortex-m4", "--optimize", goal)
    done("build", models / "conv.tflite", *target, "-o", folder)
    (layer,) = json.loads((folder / "metadata.json").read_text())["layers"]
    assert layer["kernel"] == kernel
    assert layer["cost"]["flash_bytes"] > 0


# --- help and lists


def test_help_of_every_command() -> None:
    names = re.findall(r"^  ([\w-]+)  ", done("--help").partition("Commands:")[2], re.MULTILINE)
    assert names == [
        "build", "doctor", "explore", "memory", "profile", "project", "rpc-server", "run",
        "targets", "train-plan", "train-project", "tune",
    ]  # fmt: skip
    for name in names:
        text = done(name, "--help")
        assert f"main {name}" in text
        assert "--json" in text or name == "rpc-server"  # which serves and has no result
    assert "..." not in done("--help").partition("Commands:")[2]  # no summary is cut off


def test_help_lists_the_templates() -> None:
    assert "[cmake|make]" in done("project", "--help")


def test_version() -> None:
    assert re.fullmatch(r"tvm-tiny, version \d\S+\n", done("--version"))


def test_targets_as_a_table_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    text = done("targets", "--json", path)
    rows = json.loads(path.read_text())
    assert [row["name"] for row in rows] == [target.name for target in all_targets()]
    fields = "name core board flash_bytes sram_bytes emulated cycle_estimate".split()
    assert all(list(row) == fields for row in rows)
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["mps2-an386"].split()[1:] == "cortex-m4 4,096 KB 4,096 KB emulated yes".split()
    assert lines["nucleo-h743zi"].split()[-3:] == ["build", "only", "yes"]
    assert lines["microbit"].split()[-2:] == ["emulated", "no"]


@pytest.mark.parametrize("command", ["['--help']", "['targets']", "['project', '--help']"])
def test_help_and_lists_do_not_load_tvm(command: str) -> None:
    code = (
        "import sys\n"
        "from tvm_tiny.cli import main\n"
        "try:\n"
        f"    main({command})\n"
        "finally:\n"
        "    assert not {'tvm', 'torch', 'onnx'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_installed_program() -> None:
    program = Path(sys.executable).with_name("tvm-tiny")
    if not program.exists():
        pytest.skip("the package is not installed in this environment")
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert "tvm-tiny, version" in shown.stdout
    wrong = subprocess.run([program, "nothing"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "No such command" in wrong.stderr


# --- build


def test_build_writes_an_artefact_and_its_facts(dense: Path, tmp_path: Path) -> None:
    output, facts_file = tmp_path / "out", tmp_path / "facts.json"
    arguments = ("build", dense, "--target", "mps2-an386", "-o", output, "--sram", "16k")
    text = done(*arguments, "--flash", "1M", "--name", "My net", "--json", facts_file)
    facts = json.loads(facts_file.read_text())
    assert (facts["name"], facts["target"], facts["core"]) == ("my_net", "mps2-an386", "cortex-m4")
    assert (facts["sram_limit_bytes"], facts["flash_limit_bytes"]) == (16 << 10, 1 << 20)
    assert facts["output"] == str(output)
    assert {"firmware.elf", "metadata.json", "src"} == {path.name for path in output.iterdir()}
    assert "my_net" in text


def test_build_replaces_what_it_wrote_before(models: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done("build", models / "dense.tflite", "--target", "cortex-m4", "-o", output)
    (output / "notes.txt").write_text("mine")
    done("build", models / "conv.tflite", "--target", "cortex-m4", "-o", output)
    assert not list((output / "src").glob("dense*"))
    assert (output / "notes.txt").read_text() == "mine"
    done("build", output, "-o", tmp_path / "copy.tar")  # it is whole: it opens


@pytest.mark.parametrize("command", [("build",), ("project", "--template", "make")])
def test_a_folder_of_others_is_refused_without_force(
    command: tuple[str, ...], artefact: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    name, *options = command
    result = tiny(name, artefact, *options, "-o", tmp_path)
    assert (result.exit_code, "--force" in result.output) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    done(name, artefact, *options, "-o", tmp_path, "--force")
    done(name, artefact, *options, "-o", tmp_path)  # ours by now
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_files_of_others_are_refused(artefact: Path, tmp_path: Path) -> None:
    for name in ("out", "out.tar"):
        (tmp_path / name).write_text("years of work")
        result = tiny("build", artefact, "-o", tmp_path / name)
        assert result.exit_code == 1, result.output
        assert (tmp_path / name).read_text() == "years of work"


def test_a_tar_of_ours_is_replaced_by_the_same_bytes(artefact: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.tar"
    for _ in range(2):
        done("build", artefact, "-o", path)
        assert path.read_bytes() == artefact.read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_an_unwritable_folder_is_one_message(artefact: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    result = tiny("build", artefact, "-o", tmp_path / "out")
    assert (result.exit_code, "cannot write" in result.output) == (1, True)


def test_a_folder_that_cannot_be_made_is_one_message(artefact: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = tiny("build", artefact, "-o", tmp_path / "file" / "out")
    assert (result.exit_code, "cannot write" in result.output) == (1, True), result.output


# --- run and profile


@pytest.mark.qemu
def test_a_whole_model_is_the_same_from_its_artefact(tmp_path: Path) -> None:
    digits = Path(__file__).resolve().parents[1] / "examples" / "digits" / "digits.onnx"
    done("build", digits, "--target", "cortex-m4", "-o", tmp_path / "digits")
    direct = done("profile", digits, "--target", "cortex-m4", "--json", "-")
    assert done("profile", tmp_path / "digits", "--json", "-") == direct
    assert len(json.loads(direct)["layers"]) > 3


@pytest.mark.qemu
def test_run_of_a_model_and_of_its_artefact_are_the_same(
    dense: Path, artefact: Path, samples: Path, tmp_path: Path
) -> None:
    results = []
    for model, *target in ((dense, "--target", "cortex-m4"), (artefact,)):
        output = tmp_path / "y.npy"
        text = done("run", model, *target, "--input", samples, "--output", output, "--json", "-")
        results.append((json.loads(text), np.load(output).tolist()))
    assert results[0] == results[1]
    data, outputs = results[0]
    assert np.shape(outputs) == (3, UNITS)
    assert data["instructions"] > 0


@pytest.mark.qemu
@pytest.mark.parametrize("command", ["run", "profile"])
def test_json_has_exactly_the_documented_fields(command: str, artefact: Path) -> None:
    data = json.loads(done(command, artefact, "--json", "-"))
    assert list(data) == RUN_FIELDS
    assert [list(output) for output in data["outputs"]] == [OUTPUT_FIELDS]
    assert [list(layer) for layer in data["layers"]] == [LAYER_FIELDS]
    assert (data["target"], data["core"]) == ("cortex-m4", "cortex-m4")
    assert data["outputs"][0]["shape"] == [1, UNITS]
    assert data["layers"][0]["macs"] == DENSE_SHAPE[1] * UNITS


@pytest.mark.qemu
def test_each_sample_is_run_and_the_first_is_measured(
    artefact: Path, samples: Path, tmp_path: Path
) -> None:
    outputs, measured = [], []
    array = np.load(samples)
    for index, part in enumerate([array, *np.split(array, 3)]):
        path = tmp_path / f"{index}.npy"
        np.save(path, part)
        output = tmp_path / f"y{index}.npy"
        arguments = ("--input", path, "--output", output)
        text = done("run", artefact, *arguments, "--json", "-")
        outputs.append(np.load(output))
        measured.append(json.loads(text)["instructions"])
    assert outputs[0].dtype == np.int8
    assert np.array_equal(outputs[0], np.concatenate(outputs[1:]))
    assert measured[0] == measured[1]


@pytest.mark.qemu
def test_without_input_the_random_one_is_always_the_same(artefact: Path) -> None:
    first, second = (done("run", artefact) for _ in range(2))
    assert first == second
    assert "output int8[1, 5]" in first
    assert "instructions" in first


@pytest.mark.qemu
def test_profile_shows_a_row_for_every_layer(artefact: Path, tmp_path: Path) -> None:
    text = done("profile", artefact, "--json", tmp_path / "p.json")
    data = json.loads((tmp_path / "p.json").read_text())
    total = next(line for line in text.splitlines() if line.split()[:1] == ["TOTAL"])
    assert f"{data['instructions']:,}" in total
    assert "qdense" in text
    assert "…" not in text.partition("qdense")[0]  # headings are whole
    assert all(len(line) <= 110 for line in text.splitlines())


@pytest.mark.qemu
def test_npz_holds_all_outputs_by_name(models: Path, tmp_path: Path) -> None:
    first, every = tmp_path / "y.npy", tmp_path / "y.npz"
    for path in (first, every):
        done("run", models / "two.tflite", "--target", "cortex-m3", "--output", path)
    with np.load(every) as archive:
        outputs = dict(archive)
    assert list(outputs) == ["y", "z"]
    assert np.array_equal(outputs["y"], np.load(first))
    again = every.read_bytes()
    done("run", models / "two.tflite", "--target", "cortex-m3", "--output", every)
    assert every.read_bytes() == again


@pytest.mark.qemu
def test_several_inputs_come_from_an_npz(models: Path, tmp_path: Path) -> None:
    left, right = np.random.default_rng(3).integers(-128, 128, (2, 2, 6), np.int8)
    model, target = models / "add.tflite", ("--target", "cortex-m4")
    results = []
    for arrays in ({"left": left, "right": right}, {"arr_0": left, "arr_1": right}):
        np.savez(tmp_path / "x.npz", **arrays)
        arguments = ("--input", tmp_path / "x.npz", "--output", tmp_path / "y.npy")
        done("run", model, *target, *arguments)
        results.append(np.load(tmp_path / "y.npy"))
    assert results[0].shape == (2, 6)
    assert np.array_equal(results[0], results[1])
    np.savez(tmp_path / "x.npz", left=left, wrong=right)
    result = tiny("run", model, *target, "--input", tmp_path / "x.npz")
    assert (result.exit_code, "['left', 'right']" in result.output) == (1, True)
    np.save(tmp_path / "x.npy", left)
    result = tiny("run", model, *target, "--input", tmp_path / "x.npy")
    assert (result.exit_code, "wrong number of inputs" in result.output) == (1, True)


@pytest.mark.qemu
def test_a_time_limit_that_is_too_short(artefact: Path) -> None:
    result = tiny("run", artefact, "--timeout", "0.0001")
    assert (result.exit_code, "did not end within" in result.output) == (1, True), result.output


def test_names_of_outputs_are_made_unique() -> None:
    ports = [SimpleNamespace(name=name) for name in ("file", "a/b", "file", "")]
    result = SimpleNamespace(output_ports=ports, outputs=[np.zeros(n) for n in range(4)])
    named = unique_names(cast(Any, result))
    assert {name: array.size for name, array in named.items()} == {
        "file": 0,
        "a/b": 1,
        "file_2": 2,
        "output_3": 3,
    }
    with pytest.raises(InputError, match=r"not a \.npy or \.npz"):
        read_inputs(Path(__file__), ())
