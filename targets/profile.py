"""Which addresses belong to whom: the harness, the run function, and each layer of a model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from tvm_tiny.errors import CompileError
from tvm_tiny.targets.elf import Function, read_functions, support_range

HARNESS = 0
RUN = 1
CALL_BACK = -2  # of the harness; counted for nobody
CALL_BACK_NAME = "harness_read_rows"

_LAYER = re.compile(r"(?P<model>\w+?)_layer_(?P<number>\d+)_\w+")


@dataclass(frozen=True)
class ProfileRanges:
    """The owners by number, and the address ranges [low, high) of each."""

    owners: tuple[str, ...]
    ranges: tuple[tuple[int, int, int], ...]

    def name(self, owner: int) -> str:
        """The owner's name, or an empty string for one that does not exist."""
        return self.owners[owner] if 0 <= owner < len(self.owners) else ""

    def as_text(self) -> str:
        """The form that the emulator's plugin reads."""
        return "".join(f"{owner} {low:x} {high:x}\n" for owner, low, high in self.ranges)


def profile_ranges(elf: Path, model_name: str) -> ProfileRanges:
    """The owners of a firmware image: harness, `<model>_run`, and every `<model>_layer_NN_...`.

    The loops of stages, `<model>_stage_N`, and a step of training are part of the run function,
    which the compiler may have put into the step, where nothing else calls it.
    """
    functions = read_functions(elf)
    run = f"{model_name}_run"
    entries = (run, f"{model_name}_train_step")
    if not any(_base_name(function) in entries for function in functions):
        raise CompileError(f"the firmware has no function {run}", where=elf.name)
    layers = _layer_names(functions, model_name)
    return _ranges(("harness", run, *layers), functions, support_range(elf))


def guess_ranges(elf: Path) -> ProfileRanges:
    """The owners of an image whose model is not known by name; for fault reports."""
    for function in read_functions(elf):
        layer = _LAYER.fullmatch(_base_name(function))
        if layer:
            return profile_ranges(elf, layer["model"])
    return _ranges(("harness",), (), support_range(elf))


def _base_name(function: Function) -> str:
    # the compiler adds suffixes like .constprop.0 or .part.0 to copies and parts of a function
    return function.name.partition(".")[0]


def _layer_names(functions: Iterable[Function], model_name: str) -> list[str]:
    matches = (_LAYER.fullmatch(_base_name(function)) for function in functions)
    numbered = {
        (int(layer["number"]), layer[0])
        for layer in matches
        if layer and layer["model"] == model_name
    }
    return [name for _, name in sorted(numbered)]


def _ranges(
    owners: tuple[str, ...], functions: Collection[Function], support: Function
) -> ProfileRanges:
    numbers = {name: number for number, name in enumerate(owners)}
    model = owners[RUN].removesuffix("_run") if len(owners) > RUN else None
    of_run = (f"{model}_stage_", f"{model}_train_step")
    for function in functions:
        if model and _base_name(function).startswith(of_run):
            numbers[_base_name(function)] = RUN
    call_backs = [f for f in functions if _base_name(f) == CALL_BACK_NAME]
    return ProfileRanges(
        owners,
        (
            *((CALL_BACK, function.low, function.high) for function in call_backs),
            (HARNESS, support.low, support.high),
            *(
                (numbers[_base_name(function)], function.low, function.high)
                for function in functions
                if _base_name(function) in numbers
            ),
        ),
    )
