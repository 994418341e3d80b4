from __future__ import annotations

from itertools import pairwise

import pytest

from tests.targets import toy
from tvm_tiny.errors import CompileError
from tvm_tiny.targets.image import Image, build_image
from tvm_tiny.targets.profile import guess_ranges, profile_ranges
from tvm_tiny.targets.target import resolve


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("profile")
    return build_image(toy.firmware_sources(), toy.MODEL, resolve("cortex-m4"), folder)


def test_ranges_do_not_overlap_and_cover_each_owner(image: Image) -> None:
    spans = sorted((low, high) for _, low, high in image.profile.ranges)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert {owner for owner, _, _ in image.profile.ranges} == set(range(5))


def test_harness_is_the_whole_support_code(image: Image) -> None:
    harness = [(low, high) for owner, low, high in image.profile.ranges if owner == 0]
    names = {
        function.name
        for function in image.functions
        if harness[0][0] <= function.low < harness[0][1]
    }
    assert {"main", "Reset_Handler", "fault_entry", "semihosting_exit"} <= names
    assert not any(name.startswith("toy_") for name in names)


def test_names_of_owners(image: Image) -> None:
    assert image.profile.name(1) == "toy_run"
    assert image.profile.name(-1) == image.profile.name(99) == ""


def test_the_model_is_guessed_from_its_layers(image: Image) -> None:
    assert guess_ranges(image.elf) == image.profile


def test_unknown_model_is_an_error(image: Image) -> None:
    with pytest.raises(CompileError, match="no function other_run"):
        profile_ranges(image.elf, "other")


def test_text_for_the_plugin(image: Image) -> None:
    lines = image.profile.as_text().splitlines()
    assert len(lines) == len(image.profile.ranges)
    assert lines[0].startswith("0 ")
