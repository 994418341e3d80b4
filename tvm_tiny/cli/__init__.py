"""The command line: `tvm-tiny build | run | profile | project`, and what helps with them."""

from tvm_tiny.cli.commands import main
from tvm_tiny.cli.explore import explore
from tvm_tiny.cli.fleet import rpc_server
from tvm_tiny.cli.memory import memory
from tvm_tiny.cli.train_plan import train_plan
from tvm_tiny.cli.train_project import train_project
from tvm_tiny.cli.tune import tune

main.add_command(memory)
main.add_command(explore)
main.add_command(train_plan)
main.add_command(train_project)
main.add_command(tune)
main.add_command(rpc_server)

__all__ = ["main"]
