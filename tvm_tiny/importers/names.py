"""Model tensor names as identifiers that are safe in C, in Python and in Relax script."""

from __future__ import annotations

import keyword
import re

MAX_LENGTH = 64
C_KEYWORDS = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while asm bool class delete explicit export false friend main
    mutable namespace new operator private protected public template this throw true try typename
    using virtual errno NULL""".split()
)


def identifier(name: str) -> str:
    """Return `name` as an identifier: same words, `_` for the rest, at most 64 characters.

    TFLite joins the names of fused tensors with `;`: the first part names the result.
    """
    words = re.sub(r"[^0-9A-Za-z]+", "_", name.split(";")[0]).strip("_")
    words = words[-MAX_LENGTH:].strip("_") or "tensor"
    if words[0].isdigit():
        return f"t{words}"
    reserved = words in C_KEYWORDS or keyword.iskeyword(words)
    return f"{words}_" if reserved else words


class Namer:
    """Hands out identifiers, each once; two never differ in case only, so they can name files."""

    def __init__(self) -> None:
        """Start with no name taken."""
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        """Return an identifier for `name` that no earlier call returned."""
        base = candidate = identifier(name)
        number = 0
        while candidate.lower() in self._taken:
            number += 1
            candidate = f"{base}_{number}"
        self._taken.add(candidate.lower())
        return candidate
