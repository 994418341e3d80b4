"""The command line: `tvm-tiny build | run | profile | project`, and what helps with them."""

from tvm_tiny.cli.commands import main
from tvm_tiny.cli.explore import explore
from tvm_tiny.cli.fleet import rpc_server
from tvm_tiny.cli.memory import memory
from tvm_tiny.cli.tune import tune

main.add_command(memory)
main.add_command(explore)
main.add_command(tune)
main.add_command(rpc_server)

__all__ = ["main"]
