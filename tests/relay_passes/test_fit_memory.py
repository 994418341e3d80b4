from __future__ import annotations

import pytest

from tests.relay_passes.test_schedule_stages import bottlenecks
from tests.relay_passes.test_tiles import Chain
from tests.support.net_runs import expected_outputs, inputs_of, run_on_host
from tests.support.random_nets import program_of_nets, with_kernels
from tvm_tiny.errors import DoesNotFitError, TargetError, UnsupportedError
from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.fit_memory import Staging, fit_memory
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Patches, Program, Stage
from tvm_tiny.schedules.dialect import Call
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count


@pytest.fixture(scope="module")
def program() -> Program:
    return with_kernels(program_of_nets([bottlenecks().net()]))


def stages(program: Program) -> int:
    return sum(isinstance(step, Stage) for step in program.steps)


def test_nothing_changes_where_all_fits(program: Program) -> None:
    fitted, plan = fit_memory(program, Limits(arena_bytes=1 << 20))
    assert stages(fitted) == 0
    assert plan == plan_arena(program)


def test_stages_where_it_does_not(program: Program) -> None:
    needed = plan_arena(program).arena_bytes
    fitted, plan = fit_memory(program, Limits(arena_bytes=needed // 2))
    assert stages(fitted) > 0
    assert plan.arena_bytes <= needed // 2


def test_off_leaves_tensors_whole(program: Program) -> None:
    needed = plan_arena(program).arena_bytes
    fitted, plan = fit_memory(program, Limits(arena_bytes=needed // 2), staging=Staging("off"))
    assert stages(fitted) == 0
    assert plan.arena_bytes > needed // 2  # the linker will refuse it


def test_the_error_names_layer_and_bytes(program: Program) -> None:
    with pytest.raises(DoesNotFitError) as caught:
        fit_memory(program, Limits(arena_bytes=1000))
    error = caught.value
    assert error.where in {layer.name for layer in program.layers}
    assert error.limit == 1000
    least = int(str(error.found))
    fitted, _ = fit_memory(program, Limits(arena_bytes=least + 64))  # what it found is no lie
    assert stages(fitted) > 0


def test_input_by_rows(program: Program) -> None:
    fitted, plan = fit_memory(program, staging=Staging(input_rows=True))
    assert [port.is_called_back for port in fitted.inputs] == [True]
    assert "x0" not in plan.offsets


def test_inputs_that_are_no_rows_are_refused() -> None:
    chain = Chain((4, 4, 4))
    attributes = QMeanAttributes((1, 2), 1, 0, 0, *fold_count(1.0, 16))
    chain.add(Call(QMEAN, attributes, (chain.values[0],)))
    program = with_kernels(program_of_nets([chain.net()]))
    with pytest.raises(UnsupportedError, match="row by row"):
        fit_memory(program, staging=Staging(input_rows=True))


def test_unknown_values_are_refused() -> None:
    with pytest.raises(TargetError, match="known are auto, off"):
        Staging("sometimes")


def patches(program: Program) -> list[Patches]:
    return [step for step in program.steps if isinstance(step, Patches)]


def test_a_grid_is_taken_as_it_is(program: Program) -> None:
    fitted, _ = fit_memory(program, staging=Staging((2, 3, 4)))
    (made,) = patches(fitted)
    assert (len(made.rows), len(made.columns)) == (2, 3)
    # the fourth convolution ends a bottleneck, whose addition belongs to it
    assert [layer.operator for layer in made.layers].count("qadd") == 1
    assert made.output == "n0_4"


def test_a_split_behind_no_convolution_is_refused(program: Program) -> None:
    with pytest.raises(UnsupportedError, match=r"limit 1 to 7, found 8"):
        fit_memory(program, staging=Staging((2, 2, 8)))


def test_a_grid_needs_the_input_whole() -> None:
    with pytest.raises(TargetError, match="whole in memory"):
        Staging((2, 2, 1), input_rows=True)


@pytest.mark.slow
def test_patches_where_rows_are_no_words() -> None:
    chain = Chain((20, 19, 3))  # 57 bytes a row: no strips of the first layers
    chain.window(3, channels=7)
    chain.window(3, stride=2)
    chain.window(3, stride=2, channels=5)
    net = chain.net()
    program = with_kernels(program_of_nets([net]))
    needed = plan_arena(program).arena_bytes
    fitted, plan = fit_memory(program, Limits(arena_bytes=needed - needed // 8))
    assert patches(fitted) and plan.arena_bytes <= needed - needed // 8
    inputs = inputs_of([net])
    (outputs,) = run_on_host(fitted, inputs)
    assert (outputs == expected_outputs([net], inputs)[0][0]).all()
