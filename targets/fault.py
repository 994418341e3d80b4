"""Fault reports: what the firmware wrote about a processor fault, in words."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tvm_tiny.targets.target import Target

FAULT_FILE = "fault.bin"
FAULT_EXIT_CODE = 100  # plus the exception's number

_REPORT = struct.Struct("<8I")

_EXCEPTIONS = {
    2: "NMI",
    3: "HardFault",
    4: "MemManage fault",
    5: "BusFault",
    6: "UsageFault",
    7: "SecureFault",
}

# by bit of the configurable fault status register
_CAUSES = {
    0: "instruction fetch from memory that holds no code",
    1: "data access that the memory limits forbid",
    3: "the exception frame could not be restored",
    4: "the exception frame did not fit the stack",
    5: "the floating-point registers did not fit the stack",
    8: "instruction fetch from an address without memory",
    9: "data access to an address without memory",
    10: "earlier write to an address without memory",
    11: "the exception frame could not be restored",
    12: "the exception frame did not fit the stack",
    16: "undefined instruction",
    17: "jump to an address that is no Thumb code",
    18: "broken exception return",
    19: "floating-point or Helium instruction without such a unit",
    20: "stack limit",
    24: "unaligned access",
    25: "division by zero",
}
_STACKING_BITS = (4, 5, 12, 20)
_MMFAR_VALID = 1 << 7
_BFAR_VALID = 1 << 15
# An access this far below the stack is still taken for an overflow of it.
_STACK_REACH = 1 << 20


@dataclass(frozen=True)
class FaultReport:
    """The registers at a fault; `pc` is 0 when the processor could not save it."""

    exception: int
    pc: int
    lr: int
    cfsr: int
    hfsr: int
    mmfar: int
    bfar: int
    sp: int

    @property
    def name(self) -> str:
        """The exception in words."""
        return _EXCEPTIONS.get(self.exception, f"exception {self.exception}")

    @property
    def causes(self) -> str:
        """Why, as far as the status register tells; empty where the core has none."""
        causes = dict.fromkeys(text for bit, text in _CAUSES.items() if self.cfsr >> bit & 1)
        return ", ".join(causes)

    @property
    def address(self) -> int | None:
        """The address whose access faulted, if known."""
        if self.cfsr & _MMFAR_VALID:
            return self.mmfar
        return self.bfar if self.cfsr & _BFAR_VALID else None


def parse_report(data: bytes) -> FaultReport | None:
    """Read fault.bin; None when it is not complete."""
    return FaultReport(*_REPORT.unpack(data)) if len(data) == _REPORT.size else None


def hint_for(report: FaultReport, target: Target) -> str:
    """What most probably happened, by where the address lies."""
    if _is_stack_overflow(report, target):
        return "stack overflow: the stack left the bottom of the RAM; a bigger stack would help"
    address = report.address
    if address is None:
        return ""
    if target.ram.end <= address < target.board.ram.end:
        return f"access outside of the SRAM limit of {target.sram_bytes} bytes"
    fast, all_fast = target.fast_ram, target.board.fast_ram
    if fast and all_fast and fast.end <= address < all_fast.end:
        return f"access outside of the fast SRAM limit of {target.fast_sram_bytes} bytes"
    if target.board.flash.origin <= address < target.board.flash.end:
        return "write to the Flash, which is read-only"
    if target.ram.origin <= address < target.ram.end:
        return "the RAM may be read and written, but not executed"
    return "the target has no memory at this address"


def _is_stack_overflow(report: FaultReport, target: Target) -> bool:
    if any(report.cfsr >> bit & 1 for bit in _STACKING_BITS):
        return True
    suspects = [report.sp] if report.address is None else [report.sp, report.address]
    origin = target.ram.origin
    return any(origin - _STACK_REACH <= suspect < origin for suspect in suspects)
