from __future__ import annotations

from typing import Any

import pytest
from tvm import relax, tirx

from tests.relay_passes.modules import looked_up, module, nested, tensor
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes.program import Port, Program, program_of, unique
from tvm_tiny.schedules import qadd
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count

ADD = qadd.attributes((0.1, 0.2, 0.3), (1, 2, 3))


def with_attributes(mod: Any, **attributes: Any) -> Program:
    main = mod["main"]
    for name, value in attributes.items():
        main = main.with_attr(f"tiny.{name}", value)
    mod.update_func(mod.get_global_var("main"), main)
    return program_of(mod)


def test_layers_in_order() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(looked_up(x), name_hint="first")
        return emit(qadd.QADD(ADD, first, x), name_hint="sum")

    program = program_of(module([tensor("x", (2, 3))], body))
    assert [layer.operator for layer in program.layers] == ["lookup", "qadd"]
    assert [layer.inputs for layer in program.layers] == [("x",), ("first", "x")]
    assert program.layers[0].output == "first"
    assert program.inputs == (Port("x", "x", None, None),)
    assert program.outputs[0].tensor == program.layers[1].output
    assert program.tensor("x").spec.shape == (2, 3)


def test_a_reshape_is_a_view() -> None:
    def body(emit: Any, x: Any) -> Any:
        once = emit(relax.op.reshape(x, (6,)), name_hint="once")
        twice = emit(relax.op.reshape(once, (3, 2)), name_hint="twice")
        return emit(looked_up(twice))

    program = program_of(module([tensor("x", (2, 3))], body))
    assert len(program.layers) == 1
    assert {t.name: t.storage for t in program.tensors if t.name in ("once", "twice")} == {
        "once": "x",
        "twice": "x",
    }


def test_ports_carry_names_scales_and_zero_points() -> None:
    x = tensor("x", (2, 3))
    program = with_attributes(
        nested(looked_up(x), x),
        input_names=["in/put"],
        input_scales=[0.5],
        input_zero_points=[-3],
        output_names=["1out:0"],
        output_scales=[0.0],
        output_zero_points=[0],
    )
    assert program.inputs == (Port("in/put", "x", 0.5, -3),)
    assert program.outputs == (Port("1out:0", "t1out_0", None, None),)


def test_several_outputs() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(looked_up(x))
        return relax.Tuple([emit(qadd.QADD(ADD, first, x)), first, x])

    program = with_attributes(
        module([tensor("x", (2, 3))], body), output_names=["sum", "first", "same"]
    )
    assert [port.name for port in program.outputs] == ["sum", "first", "same"]
    assert [port.tensor for port in program.outputs] == ["sum", "first", "x"]


def test_names_that_collide_are_numbered() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(looked_up(emit(looked_up(x), name_hint="x")), name_hint="x")

    program = program_of(module([tensor("x", (2, 3))], body))
    names = [tensor.name for tensor in program.tensors]
    assert len(names) == len(set(names)) == 3
    assert unique("a", {"a", "a_1"}) == "a_2"


def test_a_foreign_operator_is_an_error() -> None:
    x = tensor("x", (2, 3), "float32")
    with pytest.raises(UnsupportedError, match="not an operator of the integer dialect"):
        program_of(nested(relax.op.exp(x), x))


def test_an_error_of_a_kernel_names_the_layer() -> None:
    mean = QMEAN(
        QMeanAttributes((0, 2), 0, 0, 0, *fold_count(1.0, 8)), tensor_x := tensor("x", (2, 3, 4))
    )
    named = module([tensor_x], lambda emit, x: emit(mean, name_hint="pooled"))
    with pytest.raises(UnsupportedError, match="axes that are not adjacent") as caught:
        program_of(named)
    assert caught.value.where == "pooled"


def test_a_symbolic_shape_is_an_error() -> None:
    extent = tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType([extent, 3], "int8"))
    function = module([x], lambda emit, x: x)
    with pytest.raises(UnsupportedError, match="symbolic shape"):
        program_of(function)
