"""C identifiers and strings from whatever names a model brings."""

from __future__ import annotations

import re

C_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while main asm bool true false".split()
)
MAX_LENGTH = 60


def identifier(name: str, fallback: str = "model") -> str:
    """A valid C identifier: lower case, no keyword, not longer than 60 characters."""
    text = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()[:MAX_LENGTH]
    if not text or not text[0].isalpha():
        text = f"{fallback}_{text}".rstrip("_")
    return f"{text}_" if text in C_KEYWORDS else text


def c_string(text: str) -> str:
    """A C string literal; anything but plain ASCII becomes an octal escape."""
    plain = {ord(c): c for c in map(chr, range(32, 127)) if c not in '"\\?'}
    return '"' + "".join(plain.get(b, f"\\{b:03o}") for b in text.encode()) + '"'


def c_comment(text: str) -> str:
    """Text that cannot end a comment or leave its line."""
    return re.sub(r"[^ -~]+", "?", text).replace("*/", "* /").replace("/*", "/ *")[:120]
