from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.page import Point, Task, page, tasks_of_result, write_page, write_result
from tvm_tiny.tuning.trial import Measurement
from tvm_tiny.tuning.tune import TaskResult, TuningResult

DEFAULT = Point("pairs", 2000, 1000, is_default=True)
FASTER = Point("pairs loads=words", 1500, 1000)
LESS = Point("winograd", 1800, 900)
FAILED = Point("packed pixels=4", error="wrong result at element 5 <b>")


def task(*points: Point) -> Task:
    return Task("qconv2d 8x8x16", ("conv_1", "conv_2"), 12, points, 0.75)


class Strict(HTMLParser):
    """Follow tags; every one that opens must close."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_winner_and_the_reason() -> None:
    tuned = task(DEFAULT, FAILED, LESS, FASTER)
    assert tuned.best is FASTER and tuned.default is DEFAULT
    assert tuned.gain == 0.75
    assert tuned.why == "25.0 % fewer cycles for an instruction"
    assert task(DEFAULT, LESS).why == "10.0 % fewer instructions"
    assert task(DEFAULT, Point("other", 1500, 1100)).why == (
        "10.0 % more instructions, 31.8 % fewer cycles for an instruction"
    )
    assert task(DEFAULT, Point("slow", 9000, 900)).why.startswith("the default is")
    assert "no kernel" in task(FAILED).why and "not measured" in task(FASTER).why
    assert tuned.failures == [("wrong result at element 5 <b>", 1)]


def test_points_are_those_of_the_database(tmp_path: Path) -> None:
    database, version = Database(tmp_path), Version("core", "gcc", "0")
    rows = {
        "pairs": Measurement(1000, 2000),
        "packed": Measurement(None, None, "crash"),
        "pairs order=paired": Measurement(1000, 1500),
    }
    for name, measured in rows.items():
        database.add("key", version, "qconv2d 8x8x16", name, measured)
    found = TaskResult(
        *("qconv2d 8x8x16", "key", ("conv_1",), 5, 2000, 1500, "pairs order=paired", "pairs"),
        *((2000, None, 1500), {"packed": "crash"}, 0.5),
    )
    result = TuningResult("core", "cycles", (found,), 3, 0, 1.0)
    (made,) = tasks_of_result(result, database, version)
    assert made.default == Point("pairs", 2000, 1000, is_default=True)
    assert made.best == Point("pairs order=paired", 1500, 1000)
    assert made.failures == [("crash", 1)] and made.space == 5


def test_the_page_of_a_result(tmp_path: Path) -> None:
    result = TuningResult("cortex-m4", "cycles", (), 3, 2, 1.0)
    write_result(tmp_path / "page.html", "kws01", result, tmp_path / "database")
    text = (tmp_path / "page.html").read_text()
    assert "kws01 on cortex-m4, tuned" in text and "3 kernels, 2 more were known" in text


def test_the_page_is_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    tasks = [task(DEFAULT, FAILED, FASTER), task(FAILED), task(DEFAULT)]
    write_page(path, "kws01 on <core>", "estimated cycles", tasks, {"compiler": "gcc 12"})
    text = path.read_text()
    strict = Strict()
    strict.feed(text)
    assert not strict.open and "script" not in strict.seen
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#)|url\(|@import", text)
    assert "kws01 on &lt;core&gt;" in text and "element 5 &lt;b&gt;" in text
    assert "Rank correlation of the cost model: 0.75" in text
    assert "1,500" in text and "0.750" in text


def test_the_curve_never_rises() -> None:
    tuned = task(FAILED, DEFAULT, Point("slow", 3000, 3000), FASTER, LESS)
    svg = ElementTree.fromstring(tuned.curve)
    (line,) = svg.iter("polyline")
    points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    # pixels count downwards
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert len(list(svg.iter("circle"))) == 4
    assert task(FAILED).curve == ""


def test_the_mean_is_geometric() -> None:
    text = page("t", "cycles", [task(DEFAULT, FASTER), task(DEFAULT)], {})
    assert f"{0.75**0.5:.3f} of the default" in text


@pytest.mark.parametrize("points", [(), (DEFAULT,), (FASTER,)])
def test_little_is_enough(points: tuple[Point, ...]) -> None:
    assert "</html>" in page("t", "cycles", [task(*points)], {})
