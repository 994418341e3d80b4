"""A project that trains builds without Python, and its losses are those of the host."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.training import NET
from tvm_tiny import zoo
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
