"""The bench as MetaSchedule's builder and runner."""

from __future__ import annotations

import pytest
import tvm
from tvm import te
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput

from tests.tuning.kernels import WRONG, add_call, trial_of
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.tuning.measure import Bench
from tvm_tiny.tuning.metaschedule import UNIT_S, builder_and_runner
from tvm_tiny.tuning.trial import Trial

CORE = "cortex-m4"
TARGET = tvm.target.Target("c")


def module(name: str) -> tvm.IRModule:
    """Return a module that stands for the trial of a name."""
    data = te.placeholder((4,), name="data")
    function = te.create_prim_func([data, te.compute((4,), lambda i: data[i] + 1.0)])
    return tvm.IRModule({"main": function.with_attr("trial", name)})


def trial(found: tvm.IRModule) -> Trial:
    """Return the trial that a module stands for."""
    name = str(found["main"].attrs["trial"])
    if name == "right":
        return Trial(add_call(), candidates(add_call())[0], CORE)
    return trial_of(WRONG[name], CORE)


@pytest.mark.qemu
def test_builder_and_runner() -> None:
    names = ["right", "does not compile", "wrong result at element 0", "unknown"]
    with Bench(CORE) as bench:
        builder, runner = builder_and_runner(bench, trial, "instructions")
        built = builder.build([BuilderInput(module(name), TARGET) for name in names])
        assert [bool(result.error_msg) for result in built] == [False, True, False, True]
        assert "does not compile" in built[1].error_msg and "no candidate" in built[3].error_msg
        paths = [result.artifact_path for result in built if result.artifact_path]
        futures = runner.run([RunnerInput(path, "c", []) for path in paths])
        right, wrong = (future.result() for future in futures)
        (measured,) = bench.measure([trial(module("right"))])
    assert measured.instructions is not None
    assert [float(s) for s in right.run_secs] == [pytest.approx(measured.instructions * UNIT_S)]
    assert wrong.run_secs is None and "wrong result at element 0" in wrong.error_msg
