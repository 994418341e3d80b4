"""Where results are written, and what must not be overwritten."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import click

METADATA = "metadata.json"


def check_free(path: Path, force: bool, folder: str = ".") -> None:
    """Refuse to write over what this program did not write: it leaves metadata.json in `folder`."""
    if path.is_file() and path.suffix != ".tar":
        raise click.ClickException(f"cannot write {path}: it is a file")
    taken = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if taken and not force and not _is_ours(path, folder):
        raise click.ClickException(
            f"{path} holds something else: choose another name, or overwrite with --force"
        )


def _is_ours(path: Path, folder: str) -> bool:
    if path.is_dir():
        return (path / folder / METADATA).is_file()
    try:
        with tarfile.open(path) as archive:
            return METADATA in archive.getnames()
    except (tarfile.TarError, OSError):
        return False


def remove_old(folder: Path) -> None:
    """Remove the files that an earlier metadata.json in this folder lists, and nothing else."""
    try:
        listed = list(json.loads((folder / METADATA).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in listed:
        path = PurePosixPath(name)
        if not path.is_absolute() and ".." not in path.parts:
            (folder / path).unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing into one message."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror or error}") from error
