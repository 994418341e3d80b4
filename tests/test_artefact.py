from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tvm_tiny import artefact
from tvm_tiny.errors import ArtefactError
from tvm_tiny.metadata import FORMAT, LayerInfo, Metadata, PortInfo, TargetInfo, parse

SOURCES = {"m.c": "int m;\n", "m.h": "/* größe */\n"}
METADATA = Metadata(
    format=FORMAT,
    name="m",
    tvm_tiny="0",
    tvm="0",
    target=TargetInfo("board", 1000, 2000),
    arena_bytes=64,
    arena_lower_bound_bytes=48,
    peak_tensor_bytes=48,
    memory_steps=(("as listed", 64), ("in place", 48)),
    stages=(),
    inputs=(PortInfo("x", (1, 2), "int8", 0.5, -3),),
    outputs=(PortInfo("y", (1, 2), "float32", None, None),),
    layers=(LayerInfo("y", "dequantize", "m_layer_00", 0, 8),),
    files={},
)


@pytest.fixture(params=["out", "out.tar"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An artefact as a folder and as a tar."""
    elf = tmp_path / "given.elf"
    elf.write_bytes(b"\x7fELF...")
    path: Path = tmp_path / "new" / request.param
    artefact.save(path, SOURCES, METADATA, elf)
    return path


def loaded(path: Path, folder: Path) -> tuple[dict[str, str], Metadata, Path]:
    folder.mkdir()
    return artefact.load(path, folder)


def test_what_is_saved_can_be_loaded(saved: Path, tmp_path: Path) -> None:
    sources, metadata, elf = loaded(saved, tmp_path / "loaded")
    assert sources == SOURCES
    assert elf.read_bytes() == b"\x7fELF..."
    assert (metadata.name, metadata.inputs) == ("m", METADATA.inputs)
    assert sorted(metadata.files) == ["firmware.elf", "src/m.c", "src/m.h"]


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    elf = tmp_path / "given.elf"
    elf.write_bytes(b"...")
    for name in ("a.tar", "b.tar"):
        artefact.save(tmp_path / name, SOURCES, METADATA, elf)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def change(path: Path, name: str, content: bytes | None) -> None:
    """Replace a file of an artefact, or remove it."""
    if path.is_dir():
        target = path / name
        target.unlink(missing_ok=True)
        if content is not None:
            target.write_bytes(content)
        return
    with tarfile.open(path) as archive:
        files = {e.name: archive.extractfile(e).read() for e in archive}  # type: ignore[union-attr]
    files.pop(name, None)
    if content is not None:
        files[name] = content
    with tarfile.open(path, "w") as archive:
        for key, data in files.items():
            entry = tarfile.TarInfo(key)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


CHANGES: dict[str, tuple[str, bytes | None, str]] = {
    "changed source": ("src/m.c", b"int n;\n", r"missing or changed[\s\S]*src/m\.c"),
    "missing source": ("src/m.h", None, r"missing or changed[\s\S]*src/m\.h"),
    "added source": ("src/n.c", b"", r"missing or changed[\s\S]*src/n\.c"),
    "changed ELF": ("firmware.elf", b"", r"missing or changed[\s\S]*firmware\.elf"),
    "no ELF": ("firmware.elf", None, r"missing or changed[\s\S]*firmware\.elf"),
    "no metadata": ("metadata.json", None, r"no metadata\.json"),
    "broken metadata": ("metadata.json", b"{", r"broken metadata\.json"),
    "other metadata": ("metadata.json", b"{}", r"broken metadata\.json"),
    "metadata that is no text": ("metadata.json", b"\xff\xfe", r"broken metadata\.json"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_broken_is_an_error(name: str, saved: Path, tmp_path: Path) -> None:
    file, content, message = CHANGES[name]
    change(saved, file, content)
    with pytest.raises(ArtefactError, match=message):
        loaded(saved, tmp_path / "loaded")


def test_what_is_no_artefact_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar at all")
    (tmp_path / "cut.tar").write_bytes(b"\x1f\x8b\x08")
    for name, message in (
        ("text.tar", "not an artefact's tar"),
        ("cut.tar", "not an artefact's tar"),
        ("nothing", "no such artefact"),
        (".", "no metadata.json"),
    ):
        with pytest.raises(ArtefactError, match=message):
            artefact.load(tmp_path / name, tmp_path)


def test_paths_that_lead_outside_are_never_written(saved: Path, tmp_path: Path) -> None:
    if saved.is_dir():
        pytest.skip("only tars hold names")
    change(saved, "../evil.txt", b"evil")
    with pytest.raises(ArtefactError, match="missing or changed"):
        loaded(saved, tmp_path / "loaded")
    assert not list(tmp_path.rglob("evil.txt"))


def test_another_format_is_an_error() -> None:
    changed = METADATA.as_json().replace(b'"format": 2', b'"format": 99')
    with pytest.raises(ArtefactError, match=r"unknown artefact format[\s\S]*limit 2, found 99"):
        parse(changed)


def test_metadata_is_readable_and_stable() -> None:
    assert METADATA.as_json() == METADATA.as_json()
    assert METADATA.as_json().startswith(b'{\n  "arena_bytes": 64,')
    assert parse(METADATA.as_json()) == METADATA
