"""Run the same C sources on this machine under the address and undefined-behaviour sanitisers."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from tvm_tiny.errors import FaultError, HangError
from tvm_tiny.targets.raw_run import INPUT_FILE, RawRun, read_run

DEFAULT_TIMEOUT_S = 60.0
SANITIZER_FLAGS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

_SUMMARY = re.compile(r"(?:runtime error: |ERROR: AddressSanitizer: )(?P<what>.*)")
_FRAME = re.compile(r"#\d+ 0x[0-9a-f]+ in (?P<function>\w+) (?P<file>\S+)")


def run(executable: Path, input_bytes: bytes, timeout_s: float = DEFAULT_TIMEOUT_S) -> RawRun:
    """Run a host build over the samples in `input_bytes`; what a sanitiser finds is a fault."""
    executable = executable.resolve()
    with tempfile.TemporaryDirectory(prefix="tvm_tiny-") as folder:
        directory = Path(folder)
        (directory / INPUT_FILE).write_bytes(input_bytes)
        result = _execute(executable, directory, timeout_s)
        if result.returncode != 0:
            raise _fault_error(executable, result)
        return read_run(directory)


def _execute(
    executable: Path, directory: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [str(executable)],
            cwd=directory,
            env={
                **os.environ,
                "ASAN_OPTIONS": "detect_leaks=0",
                "UBSAN_OPTIONS": "print_stacktrace=1",
            },
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HangError(
            f"the host build did not end within {timeout_s:g} s", where=executable.name
        ) from error


def _fault_error(executable: Path, result: subprocess.CompletedProcess[str]) -> FaultError:
    summary = _SUMMARY.search(result.stderr)
    if summary is None:
        return FaultError(
            f"the host build ended with code {result.returncode}", where=executable.name
        )
    frames = _FRAME.finditer(result.stderr)
    # the topmost frame with a source file of the build; the sanitiser's own have another folder
    own = next((frame for frame in frames if str(executable.parent) in frame["file"]), None)
    line = own["file"].replace(f"{executable.parent}{os.sep}", "") if own else ""
    return FaultError(
        f"sanitiser: {summary['what']}",
        where=own["function"] if own else executable.name,
        hint=f"see {line}" if line else "",
    )
