"""What this machine has of what the project needs, and the one line that brings what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tvm_tiny.errors import CompileError, MissingToolError
from tvm_tiny.targets.plugin import plugin_path
from tvm_tiny.targets.project import templates
from tvm_tiny.targets.toolchain import find_arm_compiler, find_host_compiler, find_program

PYTHON_VERSIONS = ((3, 10), (3, 14))  # from, and below
INSTALL = "pip install --force-reinstall tvm_tiny"
INSTALL_QEMU = "apt-get install qemu-system-arm"
TIMEOUT_S = 60

# import name -> (the extra that brings it, what it is for)
EXTRAS = {
    "tflite_micro": ("verify", "compare with TFLite Micro"),
    "onnxruntime": ("verify", "compare with ONNX Runtime"),
    "torch": ("torch", "PyTorch models"),
    "torchao": ("torch", "quantised PyTorch models"),
    "xgboost": ("tune", "tuning"),
    "ortools": ("planner", "the proven choice of kernels"),
    "matplotlib": ("plot", "plots"),
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked for; `fix` is the command that brings it, where it is missing."""

    name: str
    required: bool
    ok: bool
    found: str
    fix: str = ""


def examine() -> Iterator[Check]:
    """Look for everything, one after the other."""
    yield _python()
    yield _tvm()
    yield _tool("arm-none-eabi-gcc", find_arm_compiler, "-dumpfullversion")
    yield _newlib()
    yield _tool("host C compiler", find_host_compiler, "--version")
    yield _tool("qemu-system-arm", find_qemu, "--version")
    yield _plugin()
    yield from map(_extra, EXTRAS)
    for template in templates().values():
        for program, install in template.needs.items():
            yield _optional_program(program, install, template.summary)


def find_qemu() -> str:
    """The emulator."""
    return find_program(["qemu-system-arm"], INSTALL_QEMU)


def _python() -> Check:
    lowest, above = PYTHON_VERSIONS
    fits = lowest <= sys.version_info[:2] < above
    fix = f"use Python {'.'.join(map(str, lowest))} or later, below {'.'.join(map(str, above))}"
    return Check("Python", True, fits, platform.python_version(), "" if fits else fix)


def _tvm() -> Check:
    """TVM is imported in a process of its own: a wrong version of its libraries crashes."""
    code = "import tvm; print(tvm.__version__)"
    answer = _output([sys.executable, "-c", code])
    if answer is None:
        return Check("TVM", True, False, "cannot be imported", INSTALL)
    needed = _pinned("apache-tvm")
    found = importlib.metadata.version("apache-tvm")
    fits = needed in ("", found)
    return Check("TVM", True, fits, found, "" if fits else f"pip install apache-tvm=={needed}")


def _pinned(distribution: str) -> str:
    """The version that this package asks for, or an empty string where it was never installed."""
    try:
        requirements = importlib.metadata.requires("tvm_tiny") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    prefix = f"{distribution}=="
    return next((r.removeprefix(prefix) for r in requirements if r.startswith(prefix)), "")


def _tool(name: str, find: Callable[[], str], version_flag: str) -> Check:
    try:
        program = find()
    except MissingToolError as error:
        return Check(name, True, False, "not found", error.hint)
    answer = _output([program, version_flag])
    if answer is None:
        return Check(name, True, False, f"{program} does not run", "install it again")
    return Check(name, True, True, answer.splitlines()[0] if answer else program)


def _newlib() -> Check:
    """The compiler alone is not enough: firmware links with the small C library."""
    name, fix = "newlib (nano)", "apt-get install libnewlib-arm-none-eabi"
    try:
        compiler = find_arm_compiler()
    except MissingToolError:
        return Check(name, True, False, "not looked for: no arm-none-eabi-gcc", fix)
    specification = _output([compiler, "-print-file-name=nano.specs"])
    found = bool(specification) and Path(str(specification)).is_absolute()
    return Check(name, True, found, "found" if found else "not found", "" if found else fix)


def _plugin() -> Check:
    """Build the counting plugin and let the emulator load it."""
    name = "emulator plugin"
    try:
        message = _load_plugin(find_qemu(), plugin_path())
    except MissingToolError as error:
        return Check(name, True, False, f"not tried: {error.what}", error.hint)
    except CompileError as error:
        return Check(name, True, False, f"does not build: {error.what}", "apt-get install gcc")
    if message:
        return Check(name, True, False, f"does not load: {message}", "use QEMU 7.2")
    return Check(name, True, True, "builds and loads")


def _load_plugin(qemu: str, plugin: Path) -> str:
    """Start an empty machine with the plugin and stop it; the emulator's complaint, if any."""
    with tempfile.TemporaryDirectory(prefix="tvm_tiny-") as folder:
        (Path(folder) / "ranges.txt").write_text("", "utf-8")
        path = str(plugin).replace(",", ",,")
        loaded = subprocess.run(
            [
                *(qemu, "-machine", "none", "-display", "none", "-monitor", "stdio"),
                *("-plugin", f"{path},ranges=ranges.txt,out=counts.txt"),
            ],
            cwd=folder,
            input="quit\n",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    if loaded.returncode == 0:
        return ""
    return (loaded.stderr.strip().splitlines() or [f"exit code {loaded.returncode}"])[0]


def _extra(module: str) -> Check:
    extra, purpose = EXTRAS[module]
    fix = f"pip install 'tvm_tiny[{extra}]'"
    if importlib.util.find_spec(module) is None:
        return Check(module, False, False, f"not installed ({purpose})", fix)
    return Check(module, False, True, _version_of(module))


def _version_of(module: str) -> str:
    distributions = importlib.metadata.packages_distributions().get(module, ())
    return importlib.metadata.version(distributions[0]) if distributions else "found"


def _optional_program(name: str, install: str, purpose: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name, False, False, f"not found (projects for {purpose})", install)
    answer = _output([path, "--version"])
    return Check(name, False, True, answer.splitlines()[0] if answer else path)


def _output(command: list[str]) -> str | None:
    """What a program prints, or None where it cannot be run."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
