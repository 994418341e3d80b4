"""Images of weights: damage has a name, and a power cut at any byte leaves a whole image.

The functions run under the sanitisers, on blocks of exactly their size. The storage is a block of
two slots; its power ends after so many bytes have been erased or written.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.kernels import Request, ask, compile_functions

Array = np.ndarray[Any, Any]
HEADER, BYTES, MODEL = 32, 150, 0xC0FFEE12
SIZE = HEADER + BYTES
RUNTIME = ("tvm_tiny_weights_image.h", "tvm_tiny_weights_image.c")
FOREVER = 1 << 30


class Code(enum.IntEnum):
    OK, NO_STORAGE, BAD_MAGIC, BAD_VERSION, BAD_MODEL, BAD_SIZE, BAD_CRC = range(7)


# Arrays of a function: numbers, then what it reads, then a result that begins with the code.
SOURCE = """
typedef struct {
  uint8_t *slots;
  uint32_t slot_bytes, power; /* power: bytes that can still be erased or written */
  uint32_t unreadable;        /* a slot, or more */
} memory;

static int power_for_a_byte(memory *m) { return m->power > 0u ? (--m->power, 1) : 0; }

static int read_slot(void *user, uint32_t slot, uint32_t offset, void *to, uint32_t bytes) {
  memory *m = user;
  if (m->power == 0u || slot == m->unreadable) return 1;
  memcpy(to, m->slots + slot * m->slot_bytes + offset, bytes);
  return 0;
}

static int write_slot(void *user, uint32_t slot, uint32_t offset, const void *from,
                      uint32_t bytes) {
  memory *m = user;
  for (uint32_t i = 0; i < bytes; ++i) {
    if (!power_for_a_byte(m)) return 1;
    m->slots[slot * m->slot_bytes + offset + i] &= ((const uint8_t *)from)[i];
  }
  return 0;
}

static int erase_slot(void *user, uint32_t slot) {
  memory *m = user;
  for (uint32_t i = 0; i < m->slot_bytes; ++i) {
    if (!power_for_a_byte(m)) return 1;
    m->slots[slot * m->slot_bytes + i] = 0xff;
  }
  return 0;
}

static tiny_image_storage storage_of(memory *m) {
  tiny_image_storage storage = {read_slot, write_slot, erase_slot, m};
  return storage;
}

/* numbers: size, model, sequence, bytes */
static void call_0(void **a) {
  const uint32_t *n = a[0];
  const int code = tiny_image_write((uint8_t *)a[2] + 1, n[0], n[1], n[2], a[1], n[3]);
  *(uint8_t *)a[2] = (uint8_t)code;
}

/* numbers: size, model, bytes; the payload stands behind the code */
static void call_1(void **a) {
  const uint32_t *n = a[0];
  uint8_t *result = a[2];
  result[0] = (uint8_t)tiny_image_check(a[1], n[0], n[1], n[2]);
  if (tiny_image_read(a[1], n[0], n[1], result + 1, n[2]) != result[0]) result[0] = 99;
}

/* numbers: model, bytes, bytes of a slot, power, unreadable slot */
static void call_2(void **a) {
  const uint32_t *n = a[0];
  uint8_t *result = a[3];
  memory m = {result + 1, n[2], n[3], n[4]};
  const tiny_image_storage storage = storage_of(&m);
  memcpy(result + 1, a[1], 2 * n[2]);
  result[0] = (uint8_t)tiny_image_save(&storage, n[0], a[2], n[1]);
}

static void call_3(void **a) {
  const uint32_t *n = a[0];
  uint8_t *result = a[2];
  memory m = {a[1], n[2], n[3], n[4]};
  const tiny_image_storage storage = storage_of(&m);
  result[0] = (uint8_t)tiny_image_load(&storage, n[0], result + 1, n[1]);
}

static void call_4(void **a) {
  const uint32_t *n = a[0];
  const uint32_t first = tiny_crc32(0, a[1], n[0]);
  const uint32_t crc = tiny_crc32(first, (uint8_t *)a[1] + n[0], n[1]);
  memcpy((uint8_t *)a[2] + 1, &crc, 4);
  *(uint8_t *)a[2] = 0;
}
"""


@dataclass(frozen=True)
class Functions:
    """The compiled functions, many calls at a time."""

    program: Path

    def call(
        self, function: int, calls: Sequence[tuple[Sequence[int], Sequence[Array]]], result: int
    ) -> list[tuple[int, Array]]:
        """Return the code, and what stands behind it, of every call."""
        requests = [
            Request(
                function,
                [np.array([n % 2**32 for n in numbers], np.uint32), *arrays],
                [np.full(1 + result, 0xA5, np.uint8)],
            )
            for numbers, arrays in calls
        ]
        answers = [np.frombuffer(answer, np.uint8) for answer in ask(self.program, requests)]
        return [(int(answer[0]), answer[1:]) for answer in answers]

    def image(self, payload: Array, model: int = MODEL, sequence: int = 1) -> Array:
        """Return an image."""
        numbers = (HEADER + payload.size, model, sequence, payload.size)
        ((code, image),) = self.call(0, [(numbers, [payload])], HEADER + payload.size)
        assert code == Code.OK
        return image

    def check(self, images: Sequence[Array], model: int = MODEL, bytes_: int = BYTES) -> list[int]:
        """Return codes; what is refused is not copied."""
        calls = [((image.size, model, bytes_), [image]) for image in images]
        answers = self.call(1, calls, bytes_)
        for image, (code, payload) in zip(images, answers, strict=True):
            expected = image[HEADER:] if code == Code.OK else np.full(bytes_, 0xA5)
            np.testing.assert_array_equal(payload, expected)
        return [code for code, _ in answers]

    def save(
        self, slots: Array, payload: Array, power: Sequence[int] = (FOREVER,), unreadable: int = 9
    ) -> list[tuple[int, Array]]:
        """Return codes and slots after a save with so much power."""
        calls = [
            ((MODEL, payload.size, slots.size // 2, p, unreadable), [slots, payload]) for p in power
        ]
        return self.call(2, calls, slots.size)

    def load(self, many: Sequence[Array], unreadable: int = 9) -> list[tuple[int, Array]]:
        """Return codes and payloads of storages."""
        calls = [((MODEL, BYTES, slots.size // 2, FOREVER, unreadable), [slots]) for slots in many]
        return self.call(3, calls, BYTES)


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Functions:
    return Functions(compile_functions(SOURCE, 5, tmp_path_factory.mktemp("image"), RUNTIME))


def payload_of(seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, BYTES, np.uint8)


def slots_of(*images: Array | None, slot_bytes: int = SIZE + 10) -> Array:
    """Return slots with images; None is an erased one."""
    slots = np.full((2, slot_bytes), 0xFF, np.uint8)
    for slot, image in zip(slots, images, strict=True):
        if image is not None:
            slot[: image.size] = image
    return slots.reshape(-1)


def with_word(image: Array, at: int, word: int) -> Array:
    """Return an image with another word in its header and the CRC that fits."""
    changed = image.copy()
    changed[at : at + 4] = np.frombuffer((word % 2**32).to_bytes(4, "little"), np.uint8)
    crc = zlib.crc32(changed[28 + 4 :].tobytes(), zlib.crc32(changed[:28].tobytes()))
    changed[28:32] = np.frombuffer(crc.to_bytes(4, "little"), np.uint8)
    return changed


def test_crc_is_zlibs(functions: Functions) -> None:
    data = payload_of(0)
    for split in (0, 1, 77, BYTES):
        ((_, found),) = functions.call(4, [((split, BYTES - split), [data])], 4)
        assert int.from_bytes(found.tobytes(), "little") == zlib.crc32(data.tobytes())


def test_header(functions: Functions) -> None:
    image = functions.image(payload_of(0), sequence=7)
    words = image[:28].view(np.uint32).tolist()
    assert words == [int.from_bytes(b"TNYW", "little"), 1, MODEL, BYTES, 7, 0, 0]
    np.testing.assert_array_equal(image, with_word(image, 16, 7))


def test_what_is_whole_passes(functions: Functions) -> None:
    image = functions.image(payload_of(0))
    assert functions.check([image]) == [Code.OK]


def test_no_room_to_write(functions: Functions) -> None:
    for size in (0, HEADER - 1, SIZE - 1):
        numbers = (size, MODEL, 1, BYTES)
        ((code, image),) = functions.call(0, [(numbers, [payload_of(0)])], size)
        assert code == Code.BAD_SIZE
        assert (image == 0xA5).all()
    huge = (HEADER + 4, MODEL, 1, 2**32 - 20)
    ((code, _),) = functions.call(0, [(huge, [payload_of(0)])], HEADER + 4)
    assert code == Code.BAD_SIZE


def test_every_truncation_is_found(functions: Functions) -> None:
    image = functions.image(payload_of(0))
    assert set(functions.check([image[:size] for size in range(SIZE)])) == {Code.BAD_SIZE}


def test_every_flipped_bit_is_found(functions: Functions) -> None:
    image = functions.image(payload_of(0))
    flipped = []
    for bit in range(8 * SIZE):
        copy = image.copy()
        copy[bit // 8] ^= 1 << bit % 8
        flipped.append(copy)
    codes = np.array(functions.check(flipped)).reshape(-1, 8)
    fields = [Code.BAD_MAGIC, Code.BAD_VERSION, Code.BAD_MODEL, Code.BAD_SIZE]
    for number, code in enumerate(fields):
        assert (codes[4 * number : 4 * number + 4] == code).all()
    assert (codes[16:] == Code.BAD_CRC).all()


@pytest.mark.parametrize(
    ("at", "word", "code"),
    [
        (0, 0, Code.BAD_MAGIC),
        (4, 2, Code.BAD_VERSION),
        (8, MODEL + 1, Code.BAD_MODEL),
        (12, BYTES + 1, Code.BAD_SIZE),
        (12, 2**32 - HEADER, Code.BAD_SIZE),
    ],
)
def test_what_is_of_something_else(functions: Functions, at: int, word: int, code: Code) -> None:
    image = with_word(functions.image(payload_of(0)), at, word)
    assert functions.check([image]) == [code]
    assert [found for found, _ in functions.load([slots_of(image, None)])] == [code]


def test_saves_take_turns(functions: Functions) -> None:
    slots = slots_of(None, None)
    assert functions.load([slots])[0][0] == Code.BAD_MAGIC
    for number in range(5):
        before, payload = slots.reshape(2, -1), payload_of(number)
        ((code, slots),) = functions.save(slots, payload)
        assert code == Code.OK
        kept = 1 - number % 2
        np.testing.assert_array_equal(slots.reshape(2, -1)[kept], before[kept])
        ((code, loaded),) = functions.load([slots])
        assert code == Code.OK
        np.testing.assert_array_equal(loaded, payload)


def test_sequence_numbers_wrap(functions: Functions) -> None:
    first, last = (functions.image(payload_of(s), sequence=n) for s, n in ((0, 2**32 - 1), (1, 0)))
    for images in ((first, last), (last, first)):
        ((code, loaded),) = functions.load([slots_of(*images)])
        assert code == Code.OK
        np.testing.assert_array_equal(loaded, payload_of(1))
    ((_, slots),) = functions.save(slots_of(first, None), payload_of(2))
    np.testing.assert_array_equal(functions.load([slots])[0][1], payload_of(2))


@pytest.mark.parametrize("has_one", [True, False])
def test_power_cut_at_every_byte(functions: Functions, has_one: bool) -> None:
    """Also while the save after a cut is cut again: what was there before all stays."""
    old, new = payload_of(1), payload_of(2)
    oldest = functions.image(payload_of(0), sequence=5)
    start = slots_of(functions.image(old, sequence=6), None if has_one else oldest)
    whole = start.size // 2 + SIZE
    cuts = range(whole + 1)
    answers = functions.save(start, new, cuts)
    loaded = functions.load([slots for _, slots in answers])
    for cut, (saved, _), (code, payload) in zip(cuts, answers, loaded, strict=True):
        assert code == Code.OK
        is_new = np.array_equal(payload, new)
        assert is_new or np.array_equal(payload, old)
        assert is_new == (cut == whole)
        assert saved != Code.OK  # with no power left there is no reading back
    torn = [slots for _, slots in answers[:-1:29]]
    for slots in torn:
        again = functions.save(slots, new, range(0, whole + 2, 7))
        for code, payload in functions.load([slots for _, slots in again]):
            assert code == Code.OK
            assert np.array_equal(payload, new) or np.array_equal(payload, old)
    assert functions.save(start, new, [whole + 1])[0][0] == Code.OK


def test_the_other_slot_where_one_is_damaged(functions: Functions) -> None:
    old, new = (functions.image(payload_of(n), sequence=n) for n in (1, 2))
    damaged = []
    for byte in range(SIZE):
        copy = new.copy()
        copy[byte] ^= 0x10
        damaged += [slots_of(old, copy), slots_of(copy, old)]
    for code, payload in functions.load(damaged):
        assert code == Code.OK
        np.testing.assert_array_equal(payload, payload_of(1))


def test_slots_that_cannot_be_read(functions: Functions) -> None:
    image = functions.image(payload_of(1))
    ((code, payload),) = functions.load([slots_of(image, None)], unreadable=0)
    assert code == Code.BAD_MAGIC
    assert (payload == 0xA5).all()
    ((code, slots),) = functions.save(slots_of(image, None), payload_of(2), unreadable=0)
    assert code == Code.OK
    np.testing.assert_array_equal(slots[:SIZE], image)
