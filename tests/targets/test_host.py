from __future__ import annotations

from pathlib import Path

import pytest

from tests.targets import toy
from tvm_tiny.errors import FaultError, HangError
from tvm_tiny.targets import host
from tvm_tiny.targets.image import build_host_image


def test_host_gives_the_same_outputs(tmp_path: Path) -> None:
    program = build_host_image(toy.host_sources(), toy.MODEL, tmp_path)
    result = host.run(program, toy.INPUT)
    assert (result.return_code, result.samples, result.stack_bytes) == (0, 3, None)
    assert result.output_bytes == toy.expected()


# C of the fault, what the error says
FAULTS = {
    "write": ("out[64 + toy_sink] = 1;", "sanitiser: global-buffer-overflow"),
    "shift": ("toy_sink = 1 << (int)(toy_sink + 40);", "sanitiser: shift exponent 40 is too large"),
    "overflow": (
        "toy_sink = (uint32_t)(0x7fffffff + (int)in[0]);",
        "sanitiser: signed integer overflow",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_sanitiser_report_is_a_fault_in_the_layer(fault: str, tmp_path: Path) -> None:
    statement, message = FAULTS[fault]
    program = build_host_image(toy.host_sources(statement), toy.MODEL, tmp_path)
    with pytest.raises(FaultError, match=message) as caught:
        host.run(program, toy.INPUT)
    assert caught.value.where == "toy_layer_01_b"
    assert caught.value.hint.startswith("see layers.c:")


def test_crash_without_report_is_a_fault(tmp_path: Path) -> None:
    sources = toy.host_sources("_Exit(3);")
    sources["layers.c"] = "#include <stdlib.h>\n" + sources["layers.c"]
    program = build_host_image(sources, toy.MODEL, tmp_path)
    with pytest.raises(FaultError, match="ended with code 3"):
        host.run(program, toy.INPUT)


def test_endless_loop_is_a_hang(tmp_path: Path) -> None:
    sources = toy.host_sources("for (;;) { toy_sink++; }")
    program = build_host_image(sources, toy.MODEL, tmp_path)
    with pytest.raises(HangError, match=r"did not end within 0\.5 s"):
        host.run(program, toy.INPUT, timeout_s=0.5)
