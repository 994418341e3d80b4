"""Instructions that move several words, as one for each: LDRD, STRD, LDM and STM."""

from __future__ import annotations

import re

_WORD = 4
_FARTHEST_STEP = 255  # that a load or store of a word moves its base by
_PAIR = re.compile(r"(ldr|str)d (\w+), (\w+), \[(\w+)(?:, #(-?\d+))?\](?:, #(-?\d+))?$")
_MANY = re.compile(r"(ld|st)m(?:ia)? (\w+)(!?), \{([\w, ]+)\}$")


def single_words(line: str) -> list[str]:
    """The same in one instruction for each word; the line itself where it has no such form."""
    pair, many = _PAIR.match(line), _MANY.match(line)
    if pair:
        name, first, second, base, offset, step = pair.groups()
        return _moves(line, name, [first, second], base, int(offset or 0), int(step or 0))
    if many:
        name, base, is_moved, names = many.groups()
        registers = re.findall(r"\w+", names)
        step = _WORD * len(registers) if is_moved else 0
        return _moves(line, {"ld": "ldr", "st": "str"}[name], registers, base, 0, step)
    return [line]


def _moves(
    line: str, name: str, registers: list[str], base: str, offset: int, step: int
) -> list[str]:
    if base in registers or step > _FARTHEST_STEP or offset < 0 or (step and offset):
        return [line]
    if step == _WORD * len(registers):
        return [f"{name} {register}, [{base}], #{_WORD}" for register in registers]
    places = [f"[{base}, #{offset + _WORD * i}]" for i in range(len(registers))]
    if step:  # the base moves on with the first word, which is the last to be read
        places[0] = f"[{base}], #{step}"
    lines = [f"{name} {r}, {place}" for r, place in zip(registers, places, strict=True)]
    return lines[1:] + lines[:1] if step else lines
