"""`tvm-tiny train-plan`: what a plan trains of a model, and the memory that takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_tiny.cli import terminal
from tvm_tiny.cli.files import writing
from tvm_tiny.cli.options import Bytes, check_writable, json_option, optimizer_option
from tvm_tiny.errors import DoesNotFitError

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.separate_trainables import LayerUpdate
    from tvm_tiny.targets.target import Target
    from tvm_tiny.training.layers import TrainableLayer
    from tvm_tiny.training.update_plan import SparseUpdate

BACKBONE, ARCHITECTURE = ".npz", ".json"


@click.command("train-plan")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", required=True, metavar="T", help="Board or core.")
@click.option("--sram", type=Bytes(), help="Limit of the SRAM: bytes, or 256k, 1M.")
@click.option(
    "--update",
    metavar="PLAN",
    help="last:K, bias, bias:K, full, NET:SCHEME of the published ones (mcunet-5fps:49kb), or a "
    "plan's file. Default: weights and biases of as many last layers as the SRAM has room for.",
)
@optimizer_option
@click.option(
    "--out", type=click.Path(path_type=Path), callback=check_writable, help="Write the plan here."
)
@json_option
def train_plan(
    model: Path,
    target: str,
    sram: int | None,
    update: str | None,
    optimizer: str,
    out: Path | None,
    json_file: str | None,
) -> None:
    """Tell what of MODEL a plan trains, and the SRAM for it.

    Training is derived and planned for the memory, nothing is compiled; the classifier, the last
    layer, always trains whole. MODEL is a .tflite, .onnx or .pt2 file, the .npz of a published
    int8 backbone, or the .json of a once-for-all architecture (random weights then).
    """
    from tvm_tiny.targets.target import resolve

    chosen = resolve(target, sram, None)
    with terminal.phase(f"reading {model}"):
        source = _source(model)
    plan = _plan(source, chosen, update, optimizer)
    layers, updates = _resolved(source, plan)
    memory = _memory(source, chosen, plan, optimizer)
    if out:
        with writing(out):
            plan.to_file(out)
    facts = {
        "model": str(model),
        "target": chosen.name,
        "optimizer": optimizer,
        "sram_limit_bytes": chosen.sram_bytes,
        **memory,
        "layers": [asdict(update) for update in updates if update.is_trained],
        "plan": plan.as_json(),
    }
    sizes = "\n".join(f"{n:25} {v:,}" for n, v in facts.items() if n.endswith("bytes"))
    terminal.emit(f"{_table(layers, updates)}\n\n{sizes}", facts, json_file)


def _source(model: Path) -> Any:
    from tvm_tiny import zoo
    from tvm_tiny.importers import load

    if model.suffix == BACKBONE:
        return load(zoo.mcunet_5fps(model))
    if model.suffix == ARCHITECTURE:
        return load(zoo.int8_module(zoo.from_config(model).for_training()))
    return load(model)


def _plan(source: Any, target: Target, update: str | None, optimizer: str) -> SparseUpdate:
    from tvm_tiny.training.fit_plan import most_last_layers
    from tvm_tiny.training.update_plan import SparseUpdate

    if update is not None:
        return SparseUpdate.parse(update)
    with terminal.phase(f"fitting a plan into {target.sram_bytes:,} bytes"):
        return most_last_layers(source, target, optimizer)


def _resolved(
    source: Any, plan: SparseUpdate
) -> tuple[tuple[TrainableLayer, ...], tuple[LayerUpdate, ...]]:
    from tvm_tiny.pipeline import rewrite_for_training
    from tvm_tiny.training.layers import trainable_layers

    layers = trainable_layers(rewrite_for_training(source))
    return layers, plan.resolve_layers(layers)


def _memory(source: Any, target: Target, plan: SparseUpdate, optimizer: str) -> dict[str, int]:
    """Raises DoesNotFitError."""
    from tvm_tiny.training.build import predict_memory
    from tvm_tiny.training.fit_plan import reserved_bytes

    with terminal.phase(f"planning the memory on {target.name}"):
        found = predict_memory(source, target, update=plan, optimizer=optimizer)
    reserved = reserved_bytes(target)
    total = found.sram_bytes + reserved
    if total > target.sram_bytes:
        raise DoesNotFitError(
            "training by this plan needs more SRAM than there is",
            limit=target.sram_bytes,
            found=total,
            hint="leave --update out for a plan that fits",
        )
    return {
        "arena_bytes": found.arena_bytes,
        "trainable_bytes": found.trainable_bytes,
        "reserved_bytes": reserved,
        "sram_bytes": total,
    }


def _table(layers: tuple[TrainableLayer, ...], updates: tuple[LayerUpdate, ...]) -> str:
    """The layers that train anything."""
    table = terminal.table("layer", "operator", "input", "output", "weights of channels", "bias")
    for layer, update in zip(layers, updates, strict=True):
        if update.is_trained:
            table.add_row(
                layer.name,
                layer.operator.removeprefix("tiny.q"),
                "x".join(map(str, layer.input.shape[1:])),
                "x".join(map(str, layer.output.shape[1:])),
                f"{len(update.weight_channels)} of {layer.channels}",
                "yes" if update.bias else "no",
            )
    return terminal.render(table)
