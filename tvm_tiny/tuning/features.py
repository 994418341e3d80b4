"""What the cost model sees of a point: the layer's sizes, the variant and its options.

TIR says nothing of what happens in a micro-kernel, so these are not MetaSchedule's own features.
Names of variants and options are columns by their hash: no list of them has to be kept.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.costs import work_of
from tvm_tiny.schedules.dialect import Array, Call
from tvm_tiny.schedules.instruction_order import ORDER, ORDERS
from tvm_tiny.targets.cycles.estimate import MODELS
from tvm_tiny.tuning.tasks import Task

NAMES = 1021  # columns of names, a prime: hardly any two share one
GAIN_OF_ORDER = 0.92  # about, of most layers
UNITS = ("macs", "outputs", "inputs", "channels", "windows", "tiles_by_4", "border_windows")


def features_of(task: Task, candidate: Candidate) -> Array:
    """One row of numbers for a point of a layer's space."""
    return np.concatenate([_sizes(task.call), _names(task.call, candidate)])


def prior(candidate: Candidate, model: str) -> float:
    """Cycles by the table of costs, instructions where it has none; less for an order that suits.

    All other options are taken for no better than none.
    """
    cost = float(candidate.cycles(model) or candidate.instructions or 1)
    return cost * GAIN_OF_ORDER if _suits(candidate, model) else cost


def _suits(candidate: Candidate, model: str) -> bool:
    """Whether instructions are in an order made by the cycles of this very core."""
    pipeline = ORDERS.get(str(candidate.options.get(ORDER)))
    return pipeline is not None and model in MODELS and MODELS[model].pipeline is pipeline


def _sizes(call: Call) -> Array:
    work = work_of(call)
    units = [math.log1p(work.units.get(unit, 0.0)) for unit in UNITS]
    depth = call.inputs[0].shape[-1] if call.inputs and call.inputs[0].shape else 1
    channels = call.output.shape[-1] if call.output.shape else 1
    width = call.output.shape[-2] if len(call.output.shape) > 1 else 1
    rests = [depth % 4, channels % 4, width % 4, depth % 16]
    return np.array([*units, depth, channels, width, *rests], np.float32)


def _names(call: Call, candidate: Candidate) -> Array:
    found = np.zeros(NAMES, np.float32)
    options = [f"{name}={value}" for name, value in candidate.options.items()]
    variant = f"{call.operator.name} {candidate.variant}"
    for text in (call.operator.name, variant, work_of(call).window, *options):
        found[zlib.crc32(text.encode()) % NAMES] = 1.0
    return found
