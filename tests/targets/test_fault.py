from __future__ import annotations

import struct

import pytest

from tvm_tiny.targets.fault import FaultReport, hint_for, parse_report
from tvm_tiny.targets.target import resolve

TARGET = resolve("mps2-an386", sram=65536)
GOOD_STACK = 0x20000800
MMFAR_VALID, BFAR_VALID = 1 << 7, 1 << 15


def report(cfsr: int = 0, address: int = 0, sp: int = GOOD_STACK) -> FaultReport:
    return FaultReport(4, 0x100, 0x200, cfsr, 0, address, address, sp)


def test_report_is_read_from_its_bytes() -> None:
    assert parse_report(struct.pack("<8I", 4, 0x100, 0x200, 0, 0, 0, 0, GOOD_STACK)) == report()
    assert parse_report(b"short") is None


def test_exceptions_and_causes_have_words() -> None:
    assert report().name == "MemManage fault"
    assert FaultReport(99, 0, 0, 0, 0, 0, 0, 0).name == "exception 99"
    assert report(1 << 25).causes == "division by zero"
    assert report(1 << 4 | 1 << 12).causes == "the exception frame did not fit the stack"
    assert report().causes == ""


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (report(MMFAR_VALID, 0x20010000), "outside of the SRAM limit of 65536 bytes"),
        (report(MMFAR_VALID, 0x1000), "write to the Flash"),
        (report(MMFAR_VALID, 0x20000100), "not executed"),
        (report(BFAR_VALID, 0xA0000000), "no memory at this address"),
        (report(MMFAR_VALID, 0x1FFFFFFC), "stack overflow"),
        (report(1 << 4), "stack overflow"),
        (report(0, 0, sp=0x1FFFFFF0), "stack overflow"),
    ],
)
def test_hint_tells_by_the_address(fault: FaultReport, hint: str) -> None:
    assert hint in hint_for(fault, TARGET)


def test_no_address_no_hint() -> None:
    assert hint_for(report(1 << 16), TARGET) == ""
