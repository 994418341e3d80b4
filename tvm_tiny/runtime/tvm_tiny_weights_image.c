#include "tvm_tiny_weights_image.h"

#include <string.h>

enum {
  AT_MAGIC = 0,
  AT_VERSION = 4,
  AT_MODEL = 8,
  AT_BYTES = 12,
  AT_SEQUENCE = 16,
  AT_CRC = 28,
  CHUNK_BYTES = 64 /* of a payload in storage that is looked at */
};

#define TINY_IMAGE_MAGIC 0x57594e54u /* "TNYW" */

uint32_t tiny_crc32(uint32_t crc, const void *bytes, uint32_t count) {
  /* remainders of all values of four bits */
  static const uint32_t remainders[16] = {
      0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
      0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
      0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
  const uint8_t *byte = (const uint8_t *)bytes;
  uint32_t rest = ~crc;
  for (; count > 0u; --count) {
    rest ^= *byte++;
    rest = rest >> 4 ^ remainders[rest & 15u];
    rest = rest >> 4 ^ remainders[rest & 15u];
  }
  return ~rest;
}

static uint32_t word_at(const uint8_t *header, uint32_t at) {
  return (uint32_t)header[at] | (uint32_t)header[at + 1] << 8 | (uint32_t)header[at + 2] << 16 |
         (uint32_t)header[at + 3] << 24;
}

static void put_word(uint8_t *header, uint32_t at, uint32_t word) {
  for (uint32_t i = 0; i < 4u; ++i) {
    header[at + i] = (uint8_t)(word >> 8 * i);
  }
}

static void make_header(uint8_t *header, uint32_t model, uint32_t sequence, const void *payload,
                        uint32_t bytes) {
  memset(header, 0, TINY_IMAGE_HEADER_BYTES);
  put_word(header, AT_MAGIC, TINY_IMAGE_MAGIC);
  put_word(header, AT_VERSION, TINY_IMAGE_VERSION);
  put_word(header, AT_MODEL, model);
  put_word(header, AT_BYTES, bytes);
  put_word(header, AT_SEQUENCE, sequence);
  put_word(header, AT_CRC, tiny_crc32(tiny_crc32(0u, header, AT_CRC), payload, bytes));
}

static int check_header(const uint8_t *header, uint32_t model, uint32_t bytes) {
  if (word_at(header, AT_MAGIC) != TINY_IMAGE_MAGIC) {
    return TINY_IMAGE_BAD_MAGIC;
  }
  if (word_at(header, AT_VERSION) != TINY_IMAGE_VERSION) {
    return TINY_IMAGE_BAD_VERSION;
  }
  if (word_at(header, AT_MODEL) != model) {
    return TINY_IMAGE_BAD_MODEL;
  }
  return word_at(header, AT_BYTES) == bytes ? TINY_IMAGE_OK : TINY_IMAGE_BAD_SIZE;
}

/* Compared without a sum, which could wrap. */
static int has_room(uint32_t size, uint32_t bytes) {
  return size >= TINY_IMAGE_HEADER_BYTES && size - TINY_IMAGE_HEADER_BYTES >= bytes;
}

int tiny_image_write(void *image, uint32_t size, uint32_t model, uint32_t sequence,
                     const void *payload, uint32_t bytes) {
  uint8_t *header = (uint8_t *)image;
  if (!has_room(size, bytes)) {
    return TINY_IMAGE_BAD_SIZE;
  }
  make_header(header, model, sequence, payload, bytes);
  memcpy(header + TINY_IMAGE_HEADER_BYTES, payload, bytes);
  return TINY_IMAGE_OK;
}

int tiny_image_check(const void *image, uint32_t size, uint32_t model, uint32_t bytes) {
  const uint8_t *header = (const uint8_t *)image;
  if (size < TINY_IMAGE_HEADER_BYTES) {
    return TINY_IMAGE_BAD_SIZE;
  }
  const int found = check_header(header, model, bytes);
  if (found != TINY_IMAGE_OK) {
    return found;
  }
  if (!has_room(size, bytes)) {
    return TINY_IMAGE_BAD_SIZE;
  }
  const uint32_t crc = tiny_crc32(0u, header, AT_CRC);
  const uint32_t whole = tiny_crc32(crc, header + TINY_IMAGE_HEADER_BYTES, bytes);
  return whole == word_at(header, AT_CRC) ? TINY_IMAGE_OK : TINY_IMAGE_BAD_CRC;
}

int tiny_image_read(const void *image, uint32_t size, uint32_t model, void *payload,
                    uint32_t bytes) {
  const int found = tiny_image_check(image, size, model, bytes);
  if (found == TINY_IMAGE_OK) {
    memcpy(payload, (const uint8_t *)image + TINY_IMAGE_HEADER_BYTES, bytes);
  }
  return found;
}

/* A slot's state, and the sequence number of an image that is whole. */
typedef struct {
  int found;
  uint32_t sequence;
} slot_state;

/* The CRC of a payload in storage. */
static int stored_crc(const tiny_image_storage *storage, uint32_t slot, uint32_t bytes,
                      uint32_t *crc) {
  uint8_t chunk[CHUNK_BYTES];
  for (uint32_t at = 0; at < bytes;) {
    const uint32_t count = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
    if (storage->read(storage->user, slot, TINY_IMAGE_HEADER_BYTES + at, chunk, count) != 0) {
      return TINY_IMAGE_NO_STORAGE;
    }
    *crc = tiny_crc32(*crc, chunk, count);
    at += count;
  }
  return TINY_IMAGE_OK;
}

static slot_state look_at(const tiny_image_storage *storage, uint32_t slot, uint32_t model,
                          uint32_t bytes) {
  uint8_t header[TINY_IMAGE_HEADER_BYTES];
  slot_state state = {TINY_IMAGE_NO_STORAGE, 0u};
  if (storage->read(storage->user, slot, 0u, header, sizeof header) != 0) {
    return state;
  }
  state.found = check_header(header, model, bytes);
  if (state.found != TINY_IMAGE_OK) {
    return state;
  }
  uint32_t crc = tiny_crc32(0u, header, AT_CRC);
  state.found = stored_crc(storage, slot, bytes, &crc);
  if (state.found == TINY_IMAGE_OK && crc != word_at(header, AT_CRC)) {
    state.found = TINY_IMAGE_BAD_CRC;
  }
  state.sequence = word_at(header, AT_SEQUENCE);
  return state;
}

/* Sequence numbers may wrap: the newer one is less than half their range ahead. */
static int is_newer(const slot_state *a, const slot_state *b) {
  return (int32_t)(a->sequence - b->sequence) > 0;
}

/* The slot with the newest whole image, or none: TINY_IMAGE_SLOTS. */
static uint32_t newest(const slot_state states[TINY_IMAGE_SLOTS]) {
  const int has_first = states[0].found == TINY_IMAGE_OK;
  const int has_second = states[1].found == TINY_IMAGE_OK;
  if (has_first && has_second) {
    return is_newer(&states[1], &states[0]) ? 1u : 0u;
  }
  return has_first ? 0u : has_second ? 1u : TINY_IMAGE_SLOTS;
}

static uint32_t look_at_all(const tiny_image_storage *storage, uint32_t model, uint32_t bytes,
                            slot_state states[TINY_IMAGE_SLOTS]) {
  for (uint32_t slot = 0; slot < TINY_IMAGE_SLOTS; ++slot) {
    states[slot] = look_at(storage, slot, model, bytes);
  }
  return newest(states);
}

/* The slot to write: never the one that is kept, nor, if it can be helped, one that cannot be read
 * just now and may be whole.
 */
static uint32_t slot_to_write(const slot_state states[TINY_IMAGE_SLOTS], uint32_t kept) {
  if (kept < TINY_IMAGE_SLOTS) {
    return 1u - kept;
  }
  return states[0].found == TINY_IMAGE_NO_STORAGE ? 1u : 0u;
}

int tiny_image_save(const tiny_image_storage *storage, uint32_t model, const void *payload,
                    uint32_t bytes) {
  uint8_t header[TINY_IMAGE_HEADER_BYTES];
  slot_state states[TINY_IMAGE_SLOTS];
  const uint32_t kept = look_at_all(storage, model, bytes, states);
  const uint32_t slot = slot_to_write(states, kept);
  const uint32_t sequence = kept < TINY_IMAGE_SLOTS ? states[kept].sequence + 1u : 1u;
  make_header(header, model, sequence, payload, bytes);
  if (storage->erase(storage->user, slot) != 0 ||
      storage->write(storage->user, slot, TINY_IMAGE_HEADER_BYTES, payload, bytes) != 0 ||
      storage->write(storage->user, slot, 0u, header, sizeof header) != 0) {
    return TINY_IMAGE_NO_STORAGE;
  }
  return look_at(storage, slot, model, bytes).found;
}

int tiny_image_load(const tiny_image_storage *storage, uint32_t model, void *payload,
                    uint32_t bytes) {
  slot_state states[TINY_IMAGE_SLOTS];
  const uint32_t slot = look_at_all(storage, model, bytes, states);
  if (slot == TINY_IMAGE_SLOTS) {
    return states[0].found > states[1].found ? states[0].found : states[1].found;
  }
  if (storage->read(storage->user, slot, TINY_IMAGE_HEADER_BYTES, payload, bytes) != 0) {
    return TINY_IMAGE_NO_STORAGE;
  }
  return TINY_IMAGE_OK;
}
