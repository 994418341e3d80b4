"""Compile kernels to C and run them on this machine, under the sanitisers.

Starting the compiler takes longer than compiling, so all kernels of a test module go through it
at once. Every array lies in a block of memory of exactly its size: the address sanitiser ends the
process on any access outside. An output that lies over an input shares a block of exactly both.
Output and scratch start filled with a pattern, and what is read only must not change.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from tvm_tiny.codegen.c_printer import CPrinter, c_type
from tvm_tiny.codegen.lower_kernel import lower_kernel
from tvm_tiny.schedules.dialect import Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel
from tvm_tiny.targets.toolchain import find_host_compiler

Array = np.ndarray[Any, Any]

RUNTIME = Path(str(files("tvm_tiny") / "runtime"))
FLAGS = (
    *("-std=gnu99", "-O1", "-g0", "-Wall", "-Wextra", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)
PATTERN = 0xA5
TIMEOUT_SECONDS = 120

# Requests until the input ends: the function's number, how many blocks there are and how many of
# them are read only, and how many arrays; each block's size and bytes; each array's block and its
# offset there. The answer is the last block's bytes.
HARNESS = """
static int read_numbers(uint32_t *numbers, size_t count) {
  return fread(numbers, sizeof(uint32_t), count, stdin) == count;
}

int main(void) {
  uint32_t head[4];
  while (read_numbers(head, 4)) {
    uint8_t *blocks[16], *copies[16];
    void *arrays[16];
    uint32_t sizes[16], place[2];
    for (uint32_t i = 0; i < head[1]; ++i) {
      if (!read_numbers(&sizes[i], 1)) return 2;
      blocks[i] = malloc(sizes[i]);
      copies[i] = malloc(sizes[i]);
      if (fread(blocks[i], 1, sizes[i], stdin) != sizes[i]) return 3;
      memcpy(copies[i], blocks[i], sizes[i]);
    }
    for (uint32_t i = 0; i < head[3]; ++i) {
      if (!read_numbers(place, 2)) return 2;
      arrays[i] = blocks[place[0]] + place[1];
    }
    functions[head[0]](arrays);
    for (uint32_t i = 0; i < head[2]; ++i) {
      if (memcmp(blocks[i], copies[i], sizes[i]) != 0) return 4;
    }
    fwrite(blocks[head[1] - 1], 1, sizes[head[1] - 1], stdout);
    for (uint32_t i = 0; i < head[1]; ++i) {
      free(blocks[i]);
      free(copies[i]);
    }
  }
  return 0;
}
"""


class KernelError(Exception):
    """Raised when a kernel does not compile, or a sanitiser stops it."""


@dataclass(frozen=True)
class Job:
    """A kernel and the tensor that it writes."""

    kernel: Kernel
    output: TensorSpec


@dataclass(frozen=True)
class Library:
    """Compiled kernels by name."""

    program: Path
    jobs: Mapping[str, Job]

    def of(self, case: str) -> list[str]:
        """Return the names of all kernels of a case, at least one."""
        found = [name for name in self.jobs if name.rpartition("/")[0] == case]
        assert found, f"no kernel of {case} was compiled"
        return found

    def run(self, name: str, samples: Sequence[Sequence[Array]]) -> list[Array]:
        """Return what the kernel writes for each sample of its run-time inputs."""
        return self.run_all([(name, inputs, None) for inputs in samples])

    def run_all(self, calls: Sequence[tuple[str, Sequence[Array], Over | None]]) -> list[Array]:
        """Return what kernels write for run-time inputs, over which their output may lie."""
        answers = ask(self.program, [self._request(*call) for call in calls])
        outputs = [self.jobs[name].output for name, _, _ in calls]
        return [
            np.frombuffer(answer, output.dtype).reshape(output.shape)
            for answer, output in zip(answers, outputs, strict=True)
        ]

    def _request(self, name: str, inputs: Sequence[Array], over: Over | None) -> Request:
        job = self.jobs[name]
        number = list(self.jobs).index(name)
        constants = [values for _, values in job.kernel.constants]
        scratch = [] if job.kernel.scratch is None else [_filled(job.kernel.scratch)]
        return Request(number, [*inputs, *constants], [*scratch, _filled(job.output)], over)


@dataclass(frozen=True)
class Over:
    """The output begins `shift` bytes behind the input of a number."""

    number: int
    shift: int

    def offsets(self, size: int) -> tuple[int, int]:
        """Return where an input of `size` bytes and the output begin in their block."""
        shift = min(self.shift, size)
        return max(-shift, 0), max(shift, 0)


@dataclass(frozen=True)
class Request:
    """A call of a compiled function, whose output may lie over one of the arrays it reads."""

    function: int
    read_only: Sequence[Array]
    written: Sequence[Array]
    over: Over | None = None

    def encode(self) -> bytes:
        """Return it as the harness reads it."""
        arrays = [*self.read_only, *self.written]
        shared = None if self.over is None else self.over.number
        blocks = [array for number, array in enumerate(arrays[:-1]) if number != shared]
        places = [(number, 0) for number in range(len(blocks))]
        if shared is not None:
            places.insert(shared, (len(blocks), self._offsets[0]))
        places.append((len(blocks), self._offsets[1]))
        blocks.append(self.last_block)
        read_only = len(self.read_only) - (shared is not None)
        parts = [_numbers(self.function, len(blocks), read_only, len(arrays))]
        for array in blocks:
            parts += [_numbers(array.nbytes), np.ascontiguousarray(array).tobytes()]
        return b"".join([*parts, *(_numbers(*place) for place in places)])

    @property
    def _offsets(self) -> tuple[int, int]:
        if self.over is None:
            return 0, 0
        return self.over.offsets(self.read_only[self.over.number].nbytes)

    @property
    def last_block(self) -> Array:
        """The output, and the input under it."""
        if self.over is None:
            return self.written[-1]
        (input_at, output_at), output = self._offsets, self.written[-1]
        data = np.ascontiguousarray(self.read_only[self.over.number]).reshape(-1).view(np.uint8)
        size = max(input_at + data.nbytes, output_at + output.nbytes)
        block = np.full(size, PATTERN, np.uint8)
        block[input_at : input_at + data.nbytes] = data
        return block

    def output_in(self, block: bytes) -> bytes:
        """Return the output's part of the last block; the rest of it must not have changed."""
        begin = self._offsets[1]
        end = begin + self.written[-1].nbytes
        before = self.last_block.tobytes()
        if block[:begin] != before[:begin] or block[end:] != before[end:]:
            raise KernelError(f"function {self.function} writes outside of its output")
        return block[begin:end]


def ask(program: Path, requests: Sequence[Request]) -> list[bytes]:
    """Run calls in one process; return the last array of each, the output."""
    content = b"".join(request.encode() for request in requests)
    done = subprocess.run(
        [str(program)], input=content, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
    )
    if done.returncode != 0:
        detail = done.stderr.decode(errors="replace")[:2000]
        raise KernelError(f"{program.name} ended with status {done.returncode}:\n{detail}")
    answers, start = [], 0
    for request in requests:
        end = start + request.last_block.nbytes
        answers.append(request.output_in(done.stdout[start:end]))
        start = end
    return answers


def _filled(spec: TensorSpec) -> Array:
    return np.full(spec.nbytes, PATTERN, np.uint8)


def _numbers(*values: int) -> bytes:
    return np.array(values, np.uint32).tobytes()


def build(jobs: Mapping[str, Job], folder: Path) -> Library:
    """Compile kernels with one call of the compiler."""
    made = {f.name: f for job in jobs.values() for f in job.kernel.microkernels}
    parts = [microkernel_source(function) for function in made.values()]
    parts += [kernel_source(job.kernel, number) for number, job in enumerate(jobs.values())]
    runtime = {source for job in jobs.values() for source in job.kernel.sources}
    program = compile_functions("\n".join(parts), len(jobs), folder, sorted(runtime))
    return Library(program, jobs)


def microkernel_source(function: MicroKernel) -> str:
    """Return the plain C of a function that is made for a layer."""
    body = "\n".join(function.plain)
    return f"static void {function.name}({function.parameters}) {{\n{body}\n}}\n"


def kernel_source(kernel: Kernel, number: int) -> str:
    """Return the C of a kernel, and `call_<number>` that takes its arrays as an array."""
    lowered = lower_kernel(kernel.function)
    used = CPrinter(lowered).used_parameters()
    printer = CPrinter(lowered)
    body = "\n".join(printer.body())
    name = f"kernel_{number}"
    parameters = [p for p, is_used in enumerate(used) if is_used]
    arguments = [f"({c_type(lowered.params[p].dtype)} *)a[{p}]" for p in parameters]
    return (
        f"static {printer.signature(name, used, kernel.aliased)} {{\n{body}\n}}\n"
        f"static void call_{number}(void **a) {{ {name}({', '.join(arguments)}); }}\n"
    )


def compile_functions(
    source: str, count: int, folder: Path, runtime: Sequence[str] = (), flags: Sequence[str] = FLAGS
) -> Path:
    """Compile C that defines `call_0` to `call_<count - 1>` to a program for `ask`.

    `runtime` are further files of the C runtime: headers are included, sources compiled too.
    """
    names = ", ".join(f"call_{number}" for number in range(count))
    system = [f"#include <{name}.h>" for name in ("stdint", "stdio", "stdlib", "string")]
    own = [f'#include "{name}"' for name in ("tvm_tiny.h", *runtime) if name.endswith(".h")]
    table = f"static void (*const functions[])(void **) = {{{names}}};"
    path, program = folder / "kernels.c", folder / "kernels"
    path.write_text("\n".join([*system, *own, source, table, HARNESS]))
    others = [str(RUNTIME / name) for name in runtime if name.endswith(".c")]
    command = [find_host_compiler(), *flags, f"-I{RUNTIME}", str(path), *others]
    done = subprocess.run(
        [*command, "-lm", "-o", str(program)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise KernelError(done.stderr[:4000])
    return program
