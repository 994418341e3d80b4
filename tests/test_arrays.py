from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tvm_tiny.arrays import pack_inputs, random_inputs, unpack_outputs
from tvm_tiny.errors import InputError
from tvm_tiny.metadata import PortInfo

IMAGE = PortInfo("image", (1, 2, 3), "int8", 0.5, -3)
SPEED = PortInfo("speed", (1, 2), "float32", None, None)
BATCH = PortInfo("batch", (2, 3), "int8", 0.5, 0)
SCALAR = PortInfo("scalar", (), "int8", 0.5, 0)


def image(samples: int = 1) -> Any:
    return np.arange(6 * samples, dtype=np.int8).reshape(samples, 2, 3)


def test_one_sample_with_or_without_its_leading_axis() -> None:
    assert pack_inputs([IMAGE], image()) == (image().tobytes(), 1)
    assert pack_inputs([IMAGE], image()[0]) == (image().tobytes(), 1)


def test_several_samples() -> None:
    packed, count = pack_inputs([IMAGE], image(3))
    assert (packed, count) == (image(3).tobytes(), 3)


def test_samples_of_several_inputs_alternate() -> None:
    speeds = np.arange(6, dtype=np.float32).reshape(3, 2)
    packed, count = pack_inputs([IMAGE, SPEED], [image(3), speeds])
    expected = b"".join(image(3)[i].tobytes() + speeds[i].tobytes() for i in range(3))
    assert (packed, count) == (expected, 3)
    by_name = {"speed": speeds, "image": image(3)}
    assert pack_inputs([IMAGE, SPEED], by_name) == (expected, 3)


def test_a_batch_is_one_sample() -> None:
    data = np.arange(12, dtype=np.int8).reshape(4, 3)
    assert pack_inputs([BATCH], data) == (data.tobytes(), 2)


def test_arrays_need_not_be_contiguous() -> None:
    data = image(4)[::2]
    assert pack_inputs([IMAGE], data)[0] == data.tobytes()


def test_no_input_at_all() -> None:
    assert pack_inputs([], []) == (b"", 1)


ERRORS: dict[str, tuple[list[PortInfo], Any, str]] = {
    "dtype": ([IMAGE], image().astype(np.int16), "input image: wrong dtype"),
    "unsigned": ([IMAGE], image().astype(np.uint8), r"limit int8, found uint8"),
    "shape": ([IMAGE], np.zeros((1, 3, 2), np.int8), "input image: wrong shape"),
    "rank": ([IMAGE], np.zeros((6,), np.int8), "input image: wrong shape"),
    "no samples": ([IMAGE], np.zeros((0, 2, 3), np.int8), "input image: wrong shape"),
    "half a batch": ([BATCH], np.zeros((3, 3), np.int8), "input batch: wrong shape"),
    "count of inputs": ([IMAGE, SPEED], image(), "wrong number of inputs"),
    "names": ([IMAGE], {"picture": image()}, "wrong input names"),
    "counts of samples": (
        [IMAGE, SPEED],
        [image(2), np.zeros((3, 2), np.float32)],
        "different numbers of samples",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    ports, inputs, message = ERRORS[name]
    with pytest.raises(InputError, match=message):
        pack_inputs(ports, inputs)


def test_a_scalar_input() -> None:
    assert pack_inputs([SCALAR], np.array(7, np.int8)) == (b"\x07", 1)
    assert pack_inputs([SCALAR], np.array([7, 8], np.int8)) == (b"\x07\x08", 2)
    (output,) = unpack_outputs([SCALAR], b"\x07\x08", 2)
    np.testing.assert_array_equal(output, [7, 8])


def test_outputs_of_all_samples() -> None:
    data = b"".join(image(3)[i].tobytes() + np.full(2, i, np.float32).tobytes() for i in range(3))
    images, speeds = unpack_outputs([IMAGE, SPEED], data, 3)
    np.testing.assert_array_equal(images, image(3))
    assert images.dtype == np.int8
    np.testing.assert_array_equal(
        speeds, np.repeat(np.arange(3.0, dtype=np.float32), 2).reshape(3, 2)
    )


def test_outputs_of_batches_join_along_the_first_axis() -> None:
    data = np.arange(12, dtype=np.int8)
    (output,) = unpack_outputs([BATCH], data.tobytes(), 2)
    np.testing.assert_array_equal(output, data.reshape(4, 3))


def test_random_inputs_are_the_same_every_time() -> None:
    first, again = random_inputs([IMAGE, SPEED]), random_inputs([IMAGE, SPEED])
    np.testing.assert_equal(first, again)
    assert [a.dtype for a in first] == [np.int8, np.float32]
    assert np.abs(first[1]).max() <= 1
    large = random_inputs([PortInfo("x", (1, 5000), "int8", 1.0, 0)])[0]
    assert (large.min(), large.max()) == (-128, 127)
