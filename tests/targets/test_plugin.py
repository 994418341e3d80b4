from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tvm_tiny.errors import MissingToolError
from tvm_tiny.targets.plugin import cache_directory, plugin_path

uncached = plugin_path.__wrapped__


def test_plugin_is_built_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = uncached()
    assert path.parent == tmp_path / "tvm_tiny" == cache_directory()
    before = path.stat()
    assert uncached() == path
    assert path.stat() == before
    assert list(path.parent.iterdir()) == [path]


def test_parallel_builds_give_one_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(4) as workers:
        paths = set(workers.map(lambda _: uncached(), range(4)))
    assert len(paths) == 1
    assert list((tmp_path / "tvm_tiny").iterdir()) == list(paths)


def test_unusable_cache_folder_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert blocked not in cache_directory().parents


def test_missing_host_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="gcc or cc is not installed"):
        uncached()
