"""The oracle: TensorFlow Lite Micro, run in a process of its own."""

import atexit
import contextlib
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

DEFAULT_ARENA_BYTES = 64 << 20
TIMEOUT_SECONDS = 300


class OracleError(Exception):
    """Raised when TFLite Micro rejects a model or its inputs, crashes, or does not return."""


def have_tflm() -> bool:
    """Whether the package `tflite_micro` is installed."""
    return importlib.util.find_spec("tflite_micro") is not None


def run(
    model_bytes: bytes,
    samples: Sequence[Sequence[Array]],
    arena_bytes: int = DEFAULT_ARENA_BYTES,
) -> list[list[Array]]:
    """Return the outputs of the model for each sample, a sample being one array per input.

    TFLite Micro aborts the whole process on some bad files, hence a process of its own; it stays
    for the next call, as starting it takes longer than running most models.
    """
    with _lock:
        worker = _worker()
        try:
            return worker.ask((model_bytes, [list(s) for s in samples], arena_bytes))
        except BaseException:
            # also after Ctrl-C: a late reply must not be taken for that of the next call
            _worker.cache_clear()
            worker.close()
            raise


class _Worker:
    """A process that runs models one after the other, until one of them kills it."""

    def __init__(self) -> None:
        self.log = tempfile.TemporaryFile()
        pipe = subprocess.PIPE
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.log)
        atexit.register(self.close)

    def ask(self, request: tuple[bytes, list[list[Array]], int]) -> list[list[Array]]:
        assert self.process.stdin is not None and self.process.stdout is not None
        timer = threading.Timer(TIMEOUT_SECONDS, self.process.kill)
        timer.start()
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            outputs: list[list[Array]] = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise OracleError(self._last_words()) from error
        finally:
            timer.cancel()
        return outputs

    def _last_words(self) -> str:
        self._end()
        self.log.seek(0)
        detail = self.log.read().decode(errors="replace").strip()
        return f"TFLite Micro ended with status {self.process.returncode}:\n{detail}"

    def _end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdout is not None
        self._end()
        self.process.stdout.close()
        self.log.close()
        atexit.unregister(self.close)


_lock = threading.Lock()


@cache
def _worker() -> _Worker:
    return _Worker()


def _serve() -> None:
    """Answer requests until the parent closes the pipe; an error ends the process."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # what C++ code prints must not get between the replies
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _forget_log()
        pickle.dump(_answer(*request), replies)
        replies.flush()


def _forget_log() -> None:
    os.ftruncate(sys.stderr.fileno(), 0)
    os.lseek(sys.stderr.fileno(), 0, os.SEEK_SET)


def _answer(model_bytes: bytes, samples: list[list[Array]], arena_bytes: int) -> list[list[Array]]:
    # only the worker process pays for this import
    from tflite_micro import runtime

    graph = runtime.schema_fb.Model.GetRootAs(model_bytes, 0).Subgraphs(0)
    interpreter = runtime.Interpreter.from_bytes(model_bytes, arena_size=arena_bytes)
    return [
        _invoke(interpreter, sample, graph.InputsLength(), graph.OutputsLength())
        for sample in samples
    ]


def _invoke(
    interpreter: Any, sample: list[Array], input_count: int, output_count: int
) -> list[Array]:
    if len(sample) != input_count:
        # an input left out would silently keep the values of the sample before
        raise ValueError(f"the model has {input_count} inputs, the sample {len(sample)}")
    for index, array in enumerate(sample):
        interpreter.set_input(array.copy(order="C"), index)
    interpreter.invoke()
    return [interpreter.get_output(index).copy() for index in range(output_count)]


if __name__ == "__main__":
    _serve()
