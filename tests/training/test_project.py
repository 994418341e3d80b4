"""A project that trains builds without Python, and its losses are those of the host."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.cli_support import write_models
from tests.support.training import NET
from tvm_tiny import zoo
from tvm_tiny.cli import main
from tvm_tiny.training.build import build_training

RATE, STEPS = 0.001, 10  # as the project's main function has them


@pytest.mark.qemu
def test_the_project_trains(tmp_path: Path) -> None:
    built = build_training(zoo.int8_module(NET, 0), "cortex-m4", update="last:4", name="small")
    image = np.random.default_rng(3).integers(-128, 128, (1, 16, 16, 3), np.int8)
    files = built.write_project(tmp_path, "make", image)
    assert "src/main.c" in files
    done = subprocess.run(
        ["make", "-s", "run"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    printed = re.findall(r"^loss: (\S+)$", done.stdout, re.MULTILINE)
    losses = [built.train_step(image, 0, RATE) for _ in range(STEPS)]
    assert [np.float32(text) for text in printed] == [np.float32(loss) for loss in losses]
    assert len(set(losses)) > 1


@pytest.mark.slow
def test_projects_are_for_an_optimizer(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.Flatten())
    model = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 3, 4, 4),)), model)
    found = {}
    for optimizer in ("sgd_qas", "adam"):
        command = ["train-project", str(model), "--target", "cortex-m4", "--template", "make"]
        command += ["--update", "last:0", "--optimizer", optimizer, "-o", str(tmp_path / optimizer)]
        result = CliRunner().invoke(main, [*command, "--json", "-"])
        assert result.exit_code == 0, result.output
        facts = json.loads(result.output)
        assert facts["optimizer"] == optimizer
        found[optimizer] = facts["trainable_bytes"]
    assert found["adam"] == 3 * found["sgd_qas"] + 4  # two moments, and the steps' count


def test_adam_is_not_for_integers(tmp_path: Path) -> None:
    model = write_models(tmp_path) / "dense.tflite"
    command = ["train-project", str(model), "--target", "cortex-m4", "--template", "make"]
    command += ["--update", "last:0", "--optimizer", "adam", "-o", str(tmp_path / "project")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "Adam trains float models" in result.output and "use momentum" in result.output
    assert not (tmp_path / "project").exists()
