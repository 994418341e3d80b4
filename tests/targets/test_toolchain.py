from __future__ import annotations

from pathlib import Path

import pytest

from tvm_tiny.errors import CompileError, MissingToolError
from tvm_tiny.targets.toolchain import (
    compile_sources,
    find_arm_compiler,
    find_host_compiler,
    find_program,
)

SOURCES = {
    "include/answer.h": "#define ANSWER 42\n",
    "source/a.c": '#include "answer.h"\nint a(void) { return ANSWER; }\n',
    "b.c": "#ifdef WITH_B\nint b(void) { return 1; }\n#endif\ntypedef int not_empty;\n",
}


def test_objects_come_back_in_order_and_headers_are_not_compiled(tmp_path: Path) -> None:
    objects = compile_sources(find_host_compiler(), SOURCES, tmp_path, ["-Iinclude"])
    assert objects == ("source/a.c.o", "b.c.o")
    assert all((tmp_path / name).exists() for name in objects)


def test_flags_for_one_file(tmp_path: Path) -> None:
    flags = {"b.c": ["-DWITH_B"]}
    compile_sources(find_host_compiler(), SOURCES, tmp_path, ["-Iinclude"], flags)
    assert b"b\0" in (tmp_path / "b.c.o").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int f(void) { return x; }\n", "bad.c: the compiler refused it:\n.*\n.*'x' undeclared"),
        ("int f(int unused) { return 0; }\n", "unused parameter"),
        ("int f(void) { }\n", "control reaches end"),
    ],
)
def test_refused_code_is_an_error_with_the_compilers_words(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CompileError, match=message):
        compile_sources(find_arm_compiler(), {"bad.c": text}, tmp_path, ["-mcpu=cortex-m4"])


def test_missing_program_is_an_error_that_tells_how_to_install_it() -> None:
    with pytest.raises(MissingToolError, match=r"nonesuch or neither is not(.|\n)*apt-get install"):
        find_program(["nonesuch", "neither"], "apt-get install nonesuch")
