from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_tiny.codegen.identifiers import C_KEYWORDS, MAX_LENGTH, c_comment, c_string, identifier

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*\Z")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kws", "kws"),
        ("KWS-01 (int8)", "kws_01_int8"),
        ("a/b:c;d", "a_b_c_d"),
        ("int", "int_"),
        ("Main", "main_"),
        ("restrict", "restrict_"),
        ("", "model"),
        ("___", "model"),
        ("3x3", "model_3x3"),
        ("größe", "gr_e"),
        ("模型", "model"),
        ("x" * 200, "x" * MAX_LENGTH),
        ("*/ #include <stdio.h>", "include_stdio_h"),
        ("a\nb\0c", "a_b_c"),
    ],
)
def test_identifier(name: str, expected: str) -> None:
    assert identifier(name) == expected


@given(st.text(max_size=100))
def test_every_name_becomes_an_identifier(name: str) -> None:
    text = identifier(name, "tensor")
    assert IDENTIFIER.match(text) and text not in C_KEYWORDS
    assert identifier(text) == text
    assert len(text) <= MAX_LENGTH + len("tensor_") + 1


@given(st.text(max_size=300))
def test_no_text_leaves_its_comment(text: str) -> None:
    comment = c_comment(text)
    assert "*/" not in comment and "/*" not in comment
    assert comment.isascii() and comment.isprintable()
    assert len(comment) <= 120


@given(st.text(max_size=100))
def test_strings_keep_their_bytes(text: str) -> None:
    literal = c_string(text)
    assert literal.isascii() and literal.isprintable()
    body = literal[1:-1]
    decoded = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), body.encode())
    assert decoded == text.encode()


def test_strings_have_neither_quotes_nor_trigraphs() -> None:
    assert c_string('a"b\\c??/') == '"a\\042b\\134c\\077\\077/"'
