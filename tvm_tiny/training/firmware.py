"""Firmware that trains: steps on this machine and on the target, its weights, its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tvm_tiny.arrays import pack_inputs, unpack_outputs
from tvm_tiny.errors import FaultError, InputError
from tvm_tiny.firmware import DEFAULT_TIMEOUT_S, Firmware
from tvm_tiny.metadata import PortInfo
from tvm_tiny.project import write_project
from tvm_tiny.relay_passes.plan_states import StatePlan
from tvm_tiny.result import RunResult, measure
from tvm_tiny.targets import qemu
from tvm_tiny.targets.elf import measure as measure_sizes
from tvm_tiny.training.host_twin import HostTwin

Array = np.ndarray[Any, Any]
Schedule = Callable[[float], float]  # progress from 0 to 1 -> learning rate


@dataclass(frozen=True)
class TargetSteps:
    """Steps that ran on the target: losses, weights after the last one, and the first measured."""

    losses: Array
    outputs: tuple[Array, ...]
    weights: dict[str, Array]
    first: RunResult


@dataclass(frozen=True)
class History:
    """What `fit` saw: the mean loss of each epoch, and accuracies where it had data for them."""

    losses: tuple[float, ...]
    accuracies: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class TrainingFirmware:
    """Firmware with states, which `step` and `fit` train here, bit for bit as the target does."""

    firmware: Firmware
    states: StatePlan

    @property
    def metadata(self) -> Any:
        """What the artefact says of itself; its last two inputs are the target and the rate."""
        return self.firmware.metadata

    @cached_property
    def twin(self) -> HostTwin:
        """The same C code on this machine."""
        sources = dict(self.firmware.sources)
        return HostTwin(sources, self.metadata, self.states.state_bytes)

    @property
    def sram_bytes(self) -> int:
        """Arena and states, without the stack."""
        return self.metadata.arena_bytes + self.states.state_bytes

    def train_step(self, x: Array | Sequence[Array], y: Array | int, rate: float) -> float:
        """One step on one sample: its loss before the step.

        `x` is an int8 sample (a list of arrays for several inputs), `y` its class (or the values
        that a mean squared error compares with). Raises TrainingError.
        """
        return self.twin.train_step(_as_list(x), y, rate)

    def predict(self, x: Array) -> Array:
        """Output 0 for samples along the first axis, with the weights as they are."""
        return np.concatenate([self.twin.predict([sample[np.newaxis]])[0] for sample in x])

    def accuracy(self, x: Array, y: Array) -> float:
        """The part of samples whose largest output is their class."""
        scores = self.predict(x).reshape(len(x), -1)
        return float(np.mean(scores.argmax(axis=1) == y))

    def fit(
        self,
        data: tuple[Array, Array],
        *,
        epochs: int = 1,
        rate: float | Schedule = 0.01,
        validation: tuple[Array, Array] | None = None,
        seed: int = 0,
        on_progress: Callable[[int, int, float], None] | None = None,
    ) -> History:
        """Train on arrays (samples, classes), in another order each epoch, a sample at a time.

        `rate` is the learning rate, or a function of the progress from 0 to 1. `on_progress` is
        called with (epoch, step, mean loss so far).
        """
        x, y = _checked(data)
        schedule = rate if callable(rate) else (lambda _: float(rate))
        generator = np.random.default_rng(seed)
        losses, accuracies = [], []
        for epoch in range(epochs):
            total = 0.0
            for step, index in enumerate(generator.permutation(len(x))):
                progress = (epoch + step / len(x)) / epochs
                total += self.train_step(x[index][np.newaxis], y[index], schedule(progress))
                if on_progress:
                    on_progress(epoch, step, total / (step + 1))
            losses.append(total / len(x))
            if validation is not None:
                accuracies.append(self.accuracy(*validation))
        return History(tuple(losses), tuple(accuracies))

    @property
    def weights(self) -> dict[str, Array]:
        """The trained weights and biases by name, as they are on this machine."""
        return self._unpacked(self.twin.state)

    def set_weights(self, weights: dict[str, Array]) -> None:
        """Put weights in; names and shapes as in `weights`."""
        for state in self.states.states:
            given = np.asarray(weights[state.name])
            if given.shape != state.initial.shape or given.dtype != state.initial.dtype:
                raise InputError(
                    "weights of another shape or dtype",
                    where=state.name,
                    limit=f"{state.initial.shape} {state.initial.dtype}",
                    found=f"{given.shape} {given.dtype}",
                )
            first = self.states.offsets[state.name]
            self.twin.state[first : first + given.nbytes] = np.frombuffer(given.tobytes(), np.uint8)

    def export_weights(self) -> bytes:
        """The trained weights as the image that the firmware exports, and imports."""
        return self.twin.export_weights()

    def import_weights(self, image: bytes) -> None:
        """Take over an exported image. Raises TrainingError, and changes nothing then."""
        self.twin.import_weights(image)

    def reset(self) -> None:
        """Weights as they were built."""
        self.twin.reset()

    def run_steps(
        self,
        x: Array,
        y: Array,
        rate: float | Array,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> TargetSteps:
        """Steps of training on the target, from the weights as they were built.

        Samples, targets and rates lie along the first axis. The first step is measured.
        Raises InputError, FaultError, HangError, MissingToolError, TargetError.
        """
        ports = self.metadata.inputs
        targets = np.asarray(y, ports[-2].dtype).reshape(len(x), *ports[-2].shape[1:])
        rates = np.broadcast_to(np.asarray(rate, np.float32), (len(x),))
        packed, samples = pack_inputs(ports, [x, targets, rates])
        firmware = self.firmware
        raw = qemu.run(
            firmware.image.elf, firmware.target, packed, firmware.image.profile, timeout_s
        )
        if raw.return_code != 0 or raw.samples != samples:
            raise FaultError(
                f"{firmware.name}_train_step ended with code {raw.return_code}",
                where=f"step {raw.samples}",
                found=raw.samples,
                limit=samples,
            )
        state_port = PortInfo("state", (1, self.states.state_bytes), "uint8", None, None)
        *outputs, states = unpack_outputs(
            (*self.metadata.outputs, state_port), raw.output_bytes, samples
        )
        first = measure(firmware, raw, [output[:1] for output in outputs])
        weights = self._unpacked(states[-1])
        return TargetSteps(outputs[0].reshape(-1), tuple(outputs[1:]), weights, first)

    def memory(self, stack_bytes: int = 0) -> dict[str, int]:
        """Bytes of SRAM and Flash by what they are for."""
        sizes = measure_sizes(self.firmware.image.elf)
        return {
            "sram_bytes": self.sram_bytes + stack_bytes,
            "arena_bytes": self.metadata.arena_bytes,
            "trainable_bytes": self.states.state_bytes,
            "stack_bytes": stack_bytes,
            "flash_bytes": sizes.flash_code_bytes + sizes.flash_weights_bytes,
        }

    def write_project(self, path: str | Path, template: str, x: Array | None = None) -> list[str]:
        """Write a project that builds without Python, and trains on a sample; its files' names."""
        inputs = None if x is None else [x]
        return write_project(self.firmware, path, template, inputs, trains=True)

    def save(self, path: str | Path) -> None:
        """Write sources, ELF and metadata.json to a folder, or to a tar if the name ends so."""
        self.firmware.save(path)

    def _unpacked(self, block: Array) -> dict[str, Array]:
        found = {}
        for state in self.states.states:
            first = self.states.offsets[state.name]
            values = block[first : first + state.initial.nbytes].tobytes()
            found[state.name] = np.frombuffer(values, state.initial.dtype).reshape(
                state.initial.shape
            )
        return found


def _as_list(x: Array | Sequence[Array]) -> Sequence[Array]:
    return [x] if isinstance(x, np.ndarray) else x


def _checked(data: tuple[Array, Array]) -> tuple[Array, Array]:
    x, y = (np.asarray(values) for values in data)
    if len(x) != len(y) or not len(x):
        raise InputError("samples and classes differ in number", limit=len(x), found=len(y))
    return x, y
