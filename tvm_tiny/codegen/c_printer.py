"""Lowered TIR to C99 that a person would write.

TVM's own C backend prints every parenthesis, names its temporaries cse_v1 and needs TVM's headers;
this printer covers the few node kinds that kernels use after lowering and prints them plainly.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tvm import ir, tirx

from tvm_tiny.errors import CompileError

# (symbol, precedence) of the binary operators, as in C.
BINARY: dict[str, tuple[str, int]] = {
    "Mul": ("*", 12),
    "Div": ("/", 12),
    "Mod": ("%", 12),
    "FloorDiv": ("/", 12),
    "FloorMod": ("%", 12),
    "Add": ("+", 11),
    "Sub": ("-", 11),
    "RShift": (">>", 10),
    "LShift": ("<<", 10),
    "LT": ("<", 9),
    "LE": ("<=", 9),
    "GT": (">", 9),
    "GE": (">=", 9),
    "EQ": ("==", 8),
    "NE": ("!=", 8),
    "BitwiseAnd": ("&", 7),
    "BitwiseXor": ("^", 6),
    "BitwiseOr": ("|", 5),
    "And": ("&&", 4),
    "Or": ("||", 3),
}
INTRINSICS: dict[str, tuple[str, int]] = {
    "tirx.shift_right": (">>", 10),
    "tirx.shift_left": ("<<", 10),
    "tirx.bitwise_and": ("&", 7),
    "tirx.bitwise_or": ("|", 5),
}
SHIFTS = ("<<", ">>")
# Least precedence of operands without parentheses, where compilers warn of what C allows.
CAUTIOUS = {"||": 5, "<<": 12, ">>": 12, "&": 13, "^": 13, "|": 13}
TERNARY, UNARY, ATOM = 2, 13, 15
C_TYPES = {
    "bool": "int",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "uint8": "uint8_t",
    "uint32": "uint32_t",
    "float32": "float",
}
NO_SYMBOLS: Mapping[str, str] = MappingProxyType({})
INDENT = "  "
WIDTH = 100


def c_type(dtype: object) -> str:
    """C type of a TVM dtype."""
    return C_TYPES[str(dtype)]


class CPrinter:
    """Prints one lowered PrimFunc; `names` maps its parameters to C names."""

    def __init__(self, function: tirx.PrimFunc, symbols: Mapping[str, str] = NO_SYMBOLS) -> None:
        """Take the parameters' own names; shadowed loop variables get a number.

        `symbols` gives the C names of called functions that differ from those in TIR.
        """
        self.function = function
        self.symbols = symbols
        self.names: dict[Any, str] = {}
        self.taken: set[str] = set()
        self.scalars: set[str] = set()  # buffers of one element, printed as plain variables
        self.lines: list[str] = []
        for parameter in function.params:
            self._name(parameter)

    def used_parameters(self) -> list[bool]:
        """For each parameter, whether the body reads or writes it."""
        self.body()
        text = "\n".join(self.lines)
        names = [re.escape(self.names[parameter]) for parameter in self.function.params]
        return [re.search(rf"\b{name}\b", text) is not None for name in names]

    def body(self) -> list[str]:
        """The function's body, indented once."""
        self.lines = []
        self._statement(self.function.body, 1)
        return self.lines

    def signature(self, name: str, used: Sequence[bool], aliased: Collection[int] = ()) -> str:
        """The function's head; all but scratch and output, the last, are read only.

        `aliased` are the numbers of parameters that may share bytes with others.
        """
        written = {"scratch", self.names[self.function.params[-1]]}
        parameters = [
            f"{'' if self.names[p] in written else 'const '}"
            f"{c_type(p.dtype)} *{'' if number in aliased else 'restrict '}{self.names[p]}"
            for number, p in enumerate(self.function.params)
            if used[number]
        ]
        head = f"void {name}("
        one_line = head + ", ".join(parameters) + ")"
        if len(one_line) <= WIDTH - 2:
            return one_line
        return head + ("\n" + INDENT * 2) + (",\n" + INDENT * 2).join(parameters) + ")"

    # statements

    def _statement(self, node: Any, depth: int) -> None:
        kind = type(node).__name__
        handler = getattr(self, f"_print_{kind.lower()}", None)
        if handler is None:
            raise CompileError(f"no C for TIR statement {kind}", where=str(node)[:200])
        handler(node, depth)

    def _line(self, text: str, depth: int) -> None:
        indent = INDENT * depth
        glued = re.sub(r"(?<!,) ", "\0", text)  # a line may end behind a comma, nowhere else
        wrapped = textwrap.wrap(
            glued,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent + 2 * INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self.lines += [line.replace("\0", " ") for line in wrapped]

    def _print_seqstmt(self, node: Any, depth: int) -> None:
        for statement in node.seq:
            self._statement(statement, depth)

    def _print_for(self, node: Any, depth: int) -> None:
        name = self._name(node.loop_var)
        end = self._expr(node.min + node.extent if _value(node.min) != 0 else node.extent)
        start = self._expr(node.min)
        if node.kind == tirx.ForKind.UNROLLED:
            self._line(f"#pragma GCC unroll {int(node.extent)}", 0)
        self._line(f"for (int32_t {name} = {start}; {name} < {end}; ++{name}) {{", depth)
        self._statement(node.body, depth + 1)
        self._line("}", depth)
        self.taken.discard(name)

    def _print_ifthenelse(self, node: Any, depth: int) -> None:
        self._line(f"if ({self._expr(node.condition)}) {{", depth)
        self._statement(node.then_case, depth + 1)
        if node.else_case is not None:
            self._line("} else {", depth)
            self._statement(node.else_case, depth + 1)
        self._line("}", depth)

    def _print_bufferstore(self, node: Any, depth: int) -> None:
        target = self._element(node.buffer, node.indices)
        value = node.value
        if type(value).__name__ == "Add" and self._expr(value.a) == target:
            self._line(f"{target} += {self._expr(value.b)};", depth)
        else:
            self._line(f"{target} = {self._expr(value)};", depth)

    def _print_allocbuffer(self, node: Any, depth: int) -> None:
        buffer = node.buffer
        size = 1
        for extent in buffer.shape:
            size *= int(extent)
        name = self._name(buffer)
        if size == 1:
            self.scalars.add(name)
        extent_text = "" if size == 1 else f"[{size}]"
        self._line(f"{c_type(buffer.dtype)} {name}{extent_text};", depth)

    def _print_declbuffer(self, node: Any, depth: int) -> None:
        source = node.data
        while isinstance(source, ir.Call):  # the data pointer of a buffer parameter
            source = source.args[0]
        self.names[node.buffer] = self._buffer_name(source)

    def _print_bind(self, node: Any, depth: int) -> None:
        value = self._expr(node.value)
        self._line(f"const {c_type(_dtype(node.var))} {self._name(node.var)} = {value};", depth)

    def _print_evaluate(self, node: Any, depth: int) -> None:
        if _value(node.value) is None:
            self._line(f"{self._expr(node.value)};", depth)

    # expressions

    def _expr(self, node: Any, outer: int = 0) -> str:
        text, precedence = self._parts(node)
        return f"({text})" if precedence < outer else text

    def _parts(self, node: Any) -> tuple[str, int]:
        kind = type(node).__name__
        if kind in BINARY:
            return self._binary(node.a, node.b, *BINARY[kind])
        handler: Callable[[Any], tuple[str, int]] | None
        handler = getattr(self, f"_expr_{kind.lower()}", None)
        if handler is None:
            raise CompileError(f"no C for TIR expression {kind}", where=str(node)[:200])
        return handler(node)

    def _binary(self, a: Any, b: Any, symbol: str, precedence: int) -> tuple[str, int]:
        # && inside || is clear, but compilers ask for parentheses; right operands bind tighter.
        inner = CAUTIOUS.get(symbol, precedence)
        is_chain = _symbol(a) == symbol and symbol not in SHIFTS
        left = self._expr(a, precedence if is_chain else inner)
        right = self._expr(b, max(inner, precedence + 1))
        if symbol == "+" and right.startswith("-") and _value(b) is not None:
            return f"{left} - {right[1:]}", precedence
        if symbol == "-" and right.startswith("-") and _value(b) is not None:
            return f"{left} + {right[1:]}", precedence
        return f"{left} {symbol} {right}", precedence

    def _expr_intimm(self, node: Any) -> tuple[str, int]:
        value = int(node.value)
        if value == -(1 << 31):
            return "INT32_MIN", ATOM
        return str(value), ATOM if value >= 0 else UNARY

    def _expr_floatimm(self, node: Any) -> tuple[str, int]:
        text = f"{float(node.value):.9g}"
        text = text if any(mark in text for mark in ".en") else text + ".0"
        return text + "f", ATOM if node.value >= 0 else UNARY

    def _expr_var(self, node: Any) -> tuple[str, int]:
        return self._name(node), ATOM

    def _expr_tensorload(self, node: Any) -> tuple[str, int]:
        return self._element(node.source, node.indices), ATOM

    def _expr_cast(self, node: Any) -> tuple[str, int]:
        source, target = str(node.value.ty), str(node.ty)
        if "int8" in source and "int32" in target:
            return self._parts(node.value)  # C promotes by itself
        return f"({c_type(_dtype(node))}){self._expr(node.value, UNARY)}", UNARY

    def _expr_not(self, node: Any) -> tuple[str, int]:
        return f"!{self._expr(node.a, UNARY)}", UNARY

    def _expr_max(self, node: Any) -> tuple[str, int]:
        return f"tiny_max({self._expr(node.a)}, {self._expr(node.b)})", ATOM

    def _expr_min(self, node: Any) -> tuple[str, int]:
        return f"tiny_min({self._expr(node.a)}, {self._expr(node.b)})", ATOM

    def _expr_select(self, node: Any) -> tuple[str, int]:
        return self._choice(node.condition, node.true_value, node.false_value)

    def _choice(self, condition: Any, yes: Any, no: Any) -> tuple[str, int]:
        parts = [self._expr(part, TERNARY + 1) for part in (condition, yes, no)]
        return f"{parts[0]} ? {parts[1]} : {parts[2]}", TERNARY

    def _expr_call(self, node: Any) -> tuple[str, int]:
        name = node.op.name
        if name in INTRINSICS:
            return self._binary(node.args[0], node.args[1], *INTRINSICS[name])
        if name == "tirx.address_of":
            return self._address(node.args[0])
        if name.endswith(".if_then_else"):
            return self._choice(*node.args)
        if name in ("tirx.call_extern", "tirx.call_pure_extern"):
            arguments = ", ".join(self._expr(a) for a in node.args[1:])
            callee = str(node.args[0].value)
            return f"{self.symbols.get(callee, callee)}({arguments})", ATOM
        raise CompileError(f"no C for TIR call {name}", where=str(node)[:200])

    def _address(self, load: Any) -> tuple[str, int]:
        name = self._buffer_name(load.source)
        (index,) = load.indices
        return (name, ATOM) if _value(index) == 0 else (f"{name} + {self._expr(index, 12)}", 11)

    # names

    def _element(self, buffer: Any, indices: Sequence[Any]) -> str:
        (index,) = indices
        if self._buffer_name(buffer) in self.scalars:
            return self._buffer_name(buffer)
        return f"{self._buffer_name(buffer)}[{self._expr(index)}]"

    def _buffer_name(self, buffer: Any) -> str:
        return self.names.get(buffer) or self._name(buffer)

    def _name(self, variable: Any) -> str:
        if variable in self.names:
            return self.names[variable]
        base = variable.name.rstrip("_") or "v"
        name, number = base, 1
        while name in self.taken:
            number += 1
            name = f"{base}{number}"
        self.taken.add(name)
        self.names[variable] = name
        return name


def _symbol(node: Any) -> str:
    """The symbol of a binary operator, or nothing."""
    name = getattr(getattr(node, "op", None), "name", type(node).__name__)
    return (BINARY.get(name) or INTRINSICS.get(name) or ("", 0))[0]


def _value(node: Any) -> int | None:
    return int(node.value) if isinstance(node, tirx.IntImm) else None


def _dtype(node: Any) -> str:
    return str(
        node.ty.dtype if isinstance(node.ty, ir.PrimType) and hasattr(node.ty, "dtype") else node.ty
    )
