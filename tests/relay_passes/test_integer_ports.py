from __future__ import annotations

from typing import Any

from tests.relay_passes.modules import module, quantized, real, tensor
from tvm_tiny.pipeline import rewrite
from tvm_tiny.relay_passes.integer_ports import integer_ports
from tvm_tiny.relay_passes.program import Program, program_of


def program(body: Any, *parameters: Any) -> Program:
    return program_of(rewrite(module(parameters, body)))


def test_float_ports_become_int8_ones() -> None:
    from tvm import relax

    def body(emit: Any, x: Any) -> Any:
        q = emit(quantized(x, 0.5, 3))
        return emit(
            real(emit(quantized(emit(relax.op.nn.relu(real(q, 0.5, 3))), 0.25, -7)), 0.25, -7)
        )

    given = program(body, tensor("x", (1, 4), "float32"))
    found = integer_ports(given)
    assert [layer.operator for layer in given.layers] == ["quantize", "lookup", "dequantize"]
    assert [layer.operator for layer in found.layers] == ["lookup"]
    (source,), (result,) = found.inputs, found.outputs
    assert (source.name, source.scale, source.zero_point) == (given.inputs[0].name, 0.5, 3)
    assert (result.scale, result.zero_point) == (0.25, -7)
    assert {t.name for t in found.tensors} == {source.tensor, result.tensor}
    assert found.tensor(source.tensor).spec.dtype == "int8"


def test_inputs_that_others_read_stay() -> None:
    def body(emit: Any, x: Any) -> Any:
        from tvm import relax

        first = emit(real(emit(quantized(x, 0.5, 3)), 0.5, 3))
        second = emit(real(emit(quantized(x, 0.25, 0)), 0.25, 0))
        return emit(relax.Tuple([first, second]))

    given = program(body, tensor("x", (1, 4), "float32"))
    found = integer_ports(given)
    assert found.inputs == given.inputs
    assert [port.zero_point for port in found.outputs] == [3, 0]
