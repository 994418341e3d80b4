"""What doctor finds and what it says of what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tvm_tiny import doctor
from tvm_tiny.cli import main
from tvm_tiny.doctor import Check, examine

PROGRAMS = ("arm-none-eabi-gcc", "newlib (nano)", "host C compiler", "qemu-system-arm")


@pytest.mark.qemu
def test_a_machine_that_runs_firmware_has_all_that_is_required() -> None:
    checks = list(examine())
    assert [check.name for check in checks if check.required and not check.ok] == []
    named = {check.name: check for check in checks}
    assert named["emulator plugin"].found == "builds and loads"
    assert named["arm-none-eabi-gcc"].found[0].isdigit()
    assert "7." in named["qemu-system-arm"].found
    assert all(bool(check.fix) != check.ok for check in checks)


@pytest.mark.slow
def test_an_empty_path_misses_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(main, ["doctor", "--json", str(tmp_path / "d.json")])
    assert result.exit_code == 1
    rows = json.loads((tmp_path / "d.json").read_text())
    assert all(list(row) == ["name", "required", "ok", "found", "fix"] for row in rows)
    checks = {row["name"]: row for row in rows}
    missing = {name for name, row in checks.items() if row["required"] and not row["ok"]}
    assert missing == {*PROGRAMS, "emulator plugin"}
    assert checks["Python"]["ok"]
    assert checks["TVM"]["ok"]
    for fix in ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "apt-get install qemu-system-arm"):
        assert fix in result.output
    assert result.output.count("MISSING") == len(missing)


def test_missing_extras_name_what_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_tvm", lambda: Check("TVM", True, True, ""))
    checks = {check.name: check for check in examine()}
    for module, extra in (("tflite_micro", "verify"), ("torch", "torch"), ("matplotlib", "plot")):
        assert not checks[module].required
        assert checks[module].fix == f"pip install 'tvm_tiny[{extra}]'"


@pytest.mark.slow
def test_a_program_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("arm-none-eabi-gcc", "gcc", "qemu-system-arm"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 3\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    checks = {check.name: check for check in examine()}
    assert not any(checks[name].ok for name in (*PROGRAMS, "emulator plugin"))
    assert "does not run" in checks["arm-none-eabi-gcc"].found


def test_a_wrong_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_output", lambda command: None)
    check = next(check for check in examine() if check.name == "TVM")
    assert (check.ok, check.fix) == (False, doctor.INSTALL)
