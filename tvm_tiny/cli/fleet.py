"""`tvm-tiny rpc-server`: this machine's emulator as a part of a fleet that tunes."""

from __future__ import annotations

import click

from tvm_tiny.errors import TargetError


@click.command("rpc-server")
@click.option("--board", required=True, metavar="T", help="Emulated board or core.")
@click.option("--tracker", required=True, metavar="HOST:PORT", help="TVM's RPC tracker.")
@click.option("--key", required=True, help="The key that clients must know.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address to listen on; the default is for this machine's own clients.",
)
def rpc_server(board: str, tracker: str, key: str, host: str) -> None:
    """Measure candidates for others, until it is interrupted.

    The tracker is started by `python -m tvm.exec.rpc_tracker --host 127.0.0.1 --port 9190`. Who
    knows the key may have candidates compiled and run on the emulated board, and nothing else.
    """
    from tvm_tiny.targets.target import resolve
    from tvm_tiny.tuning.candidate_server import CandidateServer
    from tvm_tiny.tuning.wire import parse_address

    try:
        server = CandidateServer(resolve(board), parse_address(tracker), key, host=host)
    except OSError as error:
        raise TargetError(f"cannot listen: {error}", where=host) from error
    click.echo(f"{server.key} on {host}:{server.port}, known at {tracker}")
    try:
        server.serve()
    finally:
        server.close()
