"""The command line: `tvm-tiny build | run | profile | project | targets | doctor`."""

from tvm_tiny.cli.commands import main

__all__ = ["main"]
