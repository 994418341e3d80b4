"""`tvm-tiny train-plan`: its table, its JSON, the plan's file, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tvm_tiny.cli import main
from tvm_tiny.targets.target import LIMIT_GRANULE
from tvm_tiny.training.update_plan import SparseUpdate

NET = {
    "name": "net",
    "resolution": 64,
    "first_conv": {"kernel_size": 3, "stride": 2, "in_channels": 3, "out_channels": 4},
    "blocks": [
        {
            "mobile_inverted_conv": {
                "name": "MBInvertedConvLayer",
                "in_channels": 4,
                "out_channels": 6,
                "kernel_size": 3,
                "stride": 2,
                "expand_ratio": 2,
            },
            "shortcut": None,
        }
    ],
    "feature_mix_layer": None,
    "classifier": {"out_features": 10},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.json"
    path.write_text(json.dumps(NET))
    return path


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36, 5)
    )
    path = tmp_path_factory.mktemp("float") / "net.pt2"
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 3, 8, 8),)), path)
    return path


def tiny(model: Path, *arguments: object) -> Result:
    command = ["train-plan", str(model), "--target", "mps2-an386"]
    return CliRunner().invoke(main, [*command, *map(str, arguments)])


def test_the_plan_and_its_memory_are_shown(model: Path, tmp_path: Path) -> None:
    files = tmp_path / "plan.json", tmp_path / "facts.json"
    result = tiny(model, "--update", "last:1", "--out", files[0], "--json", files[1])
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line}
    assert rows["block0_project"] == ["conv2d", "32x32x8", "32x32x6", "8", "of", "8", "yes"]
    assert rows["classifier"] == ["dense", "6", "10", "6", "of", "6", "yes"]
    assert "stem" not in rows
    assert SparseUpdate.from_file(files[0]) == SparseUpdate.last(1)
    facts = json.loads(files[1].read_text())
    assert facts["plan"] == json.loads(files[0].read_text())
    parts = facts["arena_bytes"] + facts["trainable_bytes"] + facts["reserved_bytes"]
    assert facts["sram_bytes"] == parts <= facts["sram_limit_bytes"]
    assert facts["trainable_bytes"] >= 8 * 6 + 6 * 4 + 6 * 10 + 10 * 4
    assert rows["sram_bytes"] == [f"{parts:,}"]
    assert [layer["layer"] for layer in facts["layers"]] == ["block0_project", "classifier"]


def test_a_plan_is_made_for_the_sram(model: Path) -> None:
    assert json.loads(tiny(model, "--json", "-").output)["plan"]["last_weights"] == 4


@pytest.mark.slow
def test_optimizers_keep_what_they_need(model: Path, float_model: Path) -> None:
    def facts(path: Path, optimizer: str) -> dict[str, Any]:
        result = tiny(path, "--update", "last:1", "--optimizer", optimizer, "--json", "-")
        return json.loads(result.output)

    plain, momentum = (facts(model, name) for name in ("sgd_qas", "momentum"))
    assert (plain["optimizer"], momentum["optimizer"]) == ("sgd_qas", "momentum")
    values = 8 * 6 + 6 + 6 * 10 + 10  # a float for each trained weight and bias
    assert momentum["trainable_bytes"] == plain["trainable_bytes"] + 4 * values
    trained = [facts(float_model, name)["trainable_bytes"] for name in ("sgd", "momentum", "adam")]
    assert trained == [trained[0], 2 * trained[0], 3 * trained[0] + 4]  # and the steps' count


def test_a_plan_is_made_for_the_optimizer(model: Path) -> None:
    def layers(optimizer: str, *arguments: str) -> int:
        result = tiny(model, "--optimizer", optimizer, *arguments, "--json", "-")
        assert result.exit_code == 0, result.output
        return int(json.loads(result.output)["plan"]["last_weights"])

    limit = most_last_layers_limit(model)
    assert layers("sgd", "--sram", limit) == 4 > layers("momentum", "--sram", limit)


def most_last_layers_limit(model: Path) -> str:
    """The SRAM that training everything before the classifier needs, and no velocities."""
    facts = json.loads(tiny(model, "--update", "last:4", "--json", "-").output)
    return str(-(-facts["sram_bytes"] // LIMIT_GRANULE) * LIMIT_GRANULE)


def test_files_are_plans(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    SparseUpdate.bias_only(2).to_file(path)
    facts = json.loads(tiny(model, "--update", path, "--json", "-").output)
    assert facts["plan"]["last_biases"] == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--update", "most"), "neither a plan nor a file"),
        (("--update", "last:9"), "limit 4 before the classifier, found 9"),
        (("--update", "mcunet-5fps:49kb"), "another number of layers"),
        (("--update", "full", "--sram", "8k"), "SRAM"),
        (("--sram", "8k"), "the classifier alone needs more SRAM"),
        (("--update", "last:1", "--optimizer", "adam"), "Adam trains float models"),
        (("--optimizer", "adam"), "Adam trains float models"),
        (("--out", "/nowhere/plan.json"), "cannot write /nowhere/plan.json"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], message: str, model: Path) -> None:
    result = tiny(model, *arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_unknown_optimizers_are_named(model: Path) -> None:
    result = tiny(model, "--optimizer", "adagrad")
    assert result.exit_code == 2
    assert "'adagrad' is not one of 'sgd_qas', 'sgd', 'momentum'" in result.output


def test_cores_that_cannot_train_are_refused(model: Path) -> None:
    command = ["train-plan", str(model), "--target", "microbit", "--update", "bias"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and "floating point unit" in result.output
