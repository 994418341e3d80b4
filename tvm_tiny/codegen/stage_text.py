"""A stage as text: the loop that runs whichever layer has the rows that it needs.

The rules are those of relay_passes/stages.py, which has found by them how many rows are ever kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tvm_tiny.codegen.identifiers import c_comment, identifier
from tvm_tiny.relay_passes.program import CALL_BACK, RowLayer, Rows, Stage, unique
from tvm_tiny.relay_passes.stages import copy_of
from tvm_tiny.schedules.dialect import Reach


@dataclass(frozen=True)
class Callee:
    """A layer's function, and by what it reaches the arena beside its rows, if it does."""

    symbol: str
    argument: str


@dataclass(frozen=True)
class RowsText:
    """A variable of type tiny_rows."""

    name: str
    fields: tuple[str, ...]
    description: str
    border: int


@dataclass(frozen=True)
class Branch:
    """What runs if all `conditions` hold, a line each."""

    conditions: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class StageText:
    """A stage's function."""

    symbol: str
    description: str
    scratch: str
    rows: tuple[RowsText, ...]
    output: str
    branches: tuple[Branch, ...]
    is_called_back: bool


def stage_text(
    stage: Stage,
    symbol: str,
    callees: Mapping[str, Callee],
    address: Callable[[str], str],
    scratch: str,
    ports: Mapping[str, int],
) -> StageText:
    """Text of a stage; callees go by outputs' names, `address` by tensors'.

    `ports` are the numbers of the model's inputs.
    """
    writer = _Writer(stage, address, ports)
    branches = [writer.layer(item, callees[item.layer.output]) for item in stage.row_layers]
    copies = [writer.copy(rows) for rows in stage.rows if rows.source is not None]
    numbers = [callees[layer.output].symbol for layer in (stage.layers[0], stage.layers[-1])]
    return StageText(
        symbol,
        " to ".join(dict.fromkeys(map(_number, numbers))),
        scratch if any(rows.offset is not None for rows in stage.rows) else "",
        tuple(writer.rows(rows) for rows in stage.rows),
        writer.names[stage.output],
        tuple(reversed([*copies, *branches])),
        any(rows.source == CALL_BACK for rows in stage.rows),
    )


def _number(symbol: str) -> str:
    return symbol.partition("_layer_")[2].partition("_")[0]


class _Writer:
    def __init__(
        self, stage: Stage, address: Callable[[str], str], ports: Mapping[str, int]
    ) -> None:
        self.stage, self.address, self.ports = stage, address, ports
        self.names: dict[str, str] = {}
        for rows in stage.rows:
            self.names[rows.name] = unique(identifier(rows.name, "t"), self.names.values())
        self.readers = self._readers()

    def rows(self, rows: Rows) -> RowsText:
        """The variable of a tensor, before anything runs."""
        is_made = rows.offset is not None or rows.name == self.stage.output
        fill, border = rows.fill & 0xFF, str(-rows.border)
        if rows.offset is None:
            place = self.address(rows.name)
        else:
            place = f"scratch + {rows.offset}" if rows.offset else "scratch"
        fields = {
            "bytes": place,
            "pitch": str(rows.pitch),
            "height": str(rows.height),
            "capacity": str(rows.capacity),
            "fill": f"0x{fill:02x}{fill:02x}{fill:02x}{fill:02x}" if fill else "0",
            "first": border,
            "end": border if is_made else str(rows.height),
            "needed": border,
        }
        shape = "x".join(map(str, rows.spec.shape)) + f" {rows.spec.dtype}"
        return RowsText(
            self.names[rows.name],
            tuple(f".{field} = {value}" for field, value in fields.items() if value != "0"),
            c_comment(f"rows of {shape}"),
            rows.border,
        )

    def layer(self, item: RowLayer, callee: Callee) -> Branch:
        """A layer runs when its windows' rows are there and its own are wanted."""
        output = self.names[item.layer.output]
        conditions = self._open(item.layer.output)
        arguments = [callee.argument] if callee.argument else []
        read: list[str] = []
        for name, reach in zip(item.layer.inputs, item.reaches, strict=True):
            if reach is None:
                continue
            rows = self._read_name(name)
            wanted = _wanted_row(item.rows, reach, output)
            conditions.append(f"tiny_rows_reach(&{rows}, {wanted})")
            begin = _row("row", reach.strides[0], -reach.padding[0])
            arguments.append(f"tiny_rows_at(&{rows}, {begin})")
            read.append(rows)
        call = f"{callee.symbol}({', '.join([*arguments, 'made'])});"
        lines = [
            f"const int32_t row = {output}.end;",
            f"void *const made = tiny_rows_add(&{output}, {item.rows});",
            call,
            *(f"{rows}.needed = {self._needed(rows)};" for rows in dict.fromkeys(read)),
        ]
        return Branch(tuple(conditions), tuple(lines))

    def copy(self, rows: Rows) -> Branch:
        """Rows of an input, from the arena or by call-back."""
        name = self.names[rows.name]
        conditions = tuple(self._open(rows.name))
        if rows.source != CALL_BACK:
            source = self.names[str(rows.source)]
            lines = [
                f"tiny_rows_copy(&{name}, &{source}, {rows.copied});",
                f"{source}.needed = {name}.end;",
            ]
            return Branch(conditions, tuple(lines))
        port = next(number for name, number in self.ports.items() if copy_of(name) == rows.name)
        return Branch(
            conditions,
            (
                f"const int32_t row = {name}.end;",
                f"void *const made = tiny_rows_add(&{name}, {rows.copied});",
                f"if (ctx->read_rows[{port}](ctx->user[{port}], row, {rows.copied}, made) != 0) {{",
                "  return 1;",
                "}",
            ),
        )

    def _open(self, name: str) -> list[str]:
        """The conditions that rows of a tensor are to be made; the loop asks for the output's."""
        rows = self.names[name]
        is_output = name == self.stage.output
        return [] if is_output else [f"tiny_rows_open(&{rows})", *self._wanted(rows)]

    def _wanted(self, rows: str) -> list[str]:
        """The condition that a reader waits, which holds by itself where nothing branches."""
        if all(len(r) == 1 and r[0][0].is_alone for r in self.readers.values()):
            return []
        readers = self.readers.get(rows, [])
        ends = [_wanted_row(reader.rows, reach, reader.output) for reader, reach in readers]
        return [f"{rows}.end < {_of_all('tiny_max', ends)}"] if ends else []

    def _readers(self) -> dict[str, list[tuple[_Reader, Reach]]]:
        found: dict[str, list[tuple[_Reader, Reach]]] = {}
        for item in self.stage.row_layers:
            for name, reach in zip(item.layer.inputs, item.reaches, strict=True):
                if reach is not None:
                    is_alone = sum(r is not None for r in item.reaches) == 1
                    reader = _Reader(self.names[item.layer.output], item.rows, is_alone)
                    found.setdefault(self._read_name(name), []).append((reader, reach))
        return found

    def _read_name(self, name: str) -> str:
        return self.names.get(copy_of(name)) or self.names[name]

    def _needed(self, rows: str) -> str:
        begins = [
            _row(f"{reader.output}.end", reach.strides[0], -reach.padding[0])
            for reader, reach in self.readers[rows]
        ]
        return _of_all("tiny_min", begins)


@dataclass(frozen=True)
class _Reader:
    """What a layer makes of rows, how many at a time, and whether they are all that it reads."""

    output: str
    rows: int
    is_alone: bool


def _wanted_row(rows: int, reach: Reach, output: str) -> str:
    """The end of the rows that a layer has to see for its next ones."""
    last = (rows - 1) * reach.strides[0] - reach.padding[0] + reach.extent[0]
    return _row(f"{output}.end", reach.strides[0], last)


def _of_all(function: str, texts: Sequence[str]) -> str:
    text = texts[0]
    for other in dict.fromkeys(texts[1:]):
        text = text if other == text else f"{function}({text}, {other})"
    return text


def _row(first: str, stride: int, offset: int) -> str:
    """`first` * stride + offset, as a person would write it."""
    scaled = first if stride == 1 else f"{first} * {stride}"
    return scaled if offset == 0 else f"{scaled} {'+' if offset > 0 else '-'} {abs(offset)}"
