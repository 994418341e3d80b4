"""Save and load firmware: a folder, or a tar of the same, byte-identical for the same model."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tvm_tiny.errors import ArtefactError
from tvm_tiny.metadata import Metadata, hashes, parse

METADATA, ELF, SOURCES = "metadata.json", "firmware.elf", "src"
TAR_SUFFIXES = (".tar",)
MAX_FILE_BYTES = 1 << 28  # an artefact's files are read whole


def contents(sources: Mapping[str, str], metadata: Metadata, elf: Path) -> dict[str, bytes]:
    """Every file of the artefact by relative path."""
    files = {f"{SOURCES}/{name}": text.encode() for name, text in sources.items()}
    files[ELF] = elf.read_bytes()
    described = msgspec.structs.replace(metadata, files=hashes(files))
    return {METADATA: described.as_json(), **files}


def save(path: Path, sources: Mapping[str, str], metadata: Metadata, elf: Path) -> None:
    """Write the artefact; a name ending in .tar is a tar, all others are folders."""
    files = contents(sources, metadata, elf)
    if path.suffix in TAR_SUFFIXES:
        _write_tar(path, files)
        return
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def load(path: Path, folder: Path) -> tuple[dict[str, str], Metadata, Path]:
    """Sources, metadata, and the path of the ELF (in `folder`).

    Raises ArtefactError where a file is missing, added or differs from its hash.
    """
    files = _read_tar(path) if path.is_file() else _read_folder(path)
    if METADATA not in files:
        raise ArtefactError(f"no {METADATA}", where=str(path))
    metadata = parse(files.pop(METADATA))
    if hashes(files) != metadata.files:
        names = sorted(set(files) ^ set(metadata.files)) or sorted(
            name for name, digest in hashes(files).items() if metadata.files[name] != digest
        )
        raise ArtefactError("files are missing or changed", where=str(path), found=names)
    elf = folder / ELF
    elf.write_bytes(files[ELF])
    prefix = f"{SOURCES}/"
    texts = {n.removeprefix(prefix): d.decode() for n, d in files.items() if n.startswith(prefix)}
    return texts, metadata, elf


def _write_tar(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)  # no owner, no time: the same bytes every time
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))


def _read_tar(path: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(path, "r:") as archive:
            files = {}
            for entry in archive:
                data = archive.extractfile(entry) if entry.isfile() else None
                if data is not None and entry.size <= MAX_FILE_BYTES:
                    files[entry.name] = data.read()
            return files
    except (tarfile.TarError, OSError) as error:
        raise ArtefactError("not an artefact's tar", where=str(path), hint=str(error)) from error


def _read_folder(path: Path) -> dict[str, bytes]:
    if not path.is_dir():
        raise ArtefactError("no such artefact", where=str(path))
    expected = [path / METADATA, path / ELF, *(path / SOURCES).glob("*")]
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in expected if file.is_file()
    }
