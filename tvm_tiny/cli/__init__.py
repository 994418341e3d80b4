"""The command line: `tvm-tiny build | run | profile | project | memory | targets | doctor`."""

from tvm_tiny.cli.commands import main
from tvm_tiny.cli.memory import memory

main.add_command(memory)

__all__ = ["main"]
