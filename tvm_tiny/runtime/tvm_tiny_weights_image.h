/* Weights of a trained model as an image: in memory, or in two slots of a storage of which one is
 * whole at any moment, wherever the power goes.
 *
 * An image is a header of 32 bytes and the payload. The header's words, little endian, are a magic
 * number, the version of this format, a hash of the model, the payload's size, a number that grows
 * with every save, two words of zeros, and the CRC-32 of all words before it and the payload. Its
 * size suits memories that are written by up to 32 bytes.
 */
#ifndef TVM_TINY_WEIGHTS_IMAGE_H
#define TVM_TINY_WEIGHTS_IMAGE_H

#include <stdint.h>

enum { TINY_IMAGE_HEADER_BYTES = 32, TINY_IMAGE_VERSION = 1, TINY_IMAGE_SLOTS = 2 };

/* What may be wrong with an image, in the order in which it is looked at. */
enum {
  TINY_IMAGE_OK = 0,
  TINY_IMAGE_NO_STORAGE = 1,  /* a call-back has failed */
  TINY_IMAGE_BAD_MAGIC = 2,   /* no image at all */
  TINY_IMAGE_BAD_VERSION = 3, /* of another version of this format */
  TINY_IMAGE_BAD_MODEL = 4,   /* of another model */
  TINY_IMAGE_BAD_SIZE = 5,    /* truncated, or of another size than the model's weights */
  TINY_IMAGE_BAD_CRC = 6      /* damaged */
};

/* CRC-32 as of Ethernet and zip; `crc` is 0 at first, then the result for what stands before. */
uint32_t tiny_crc32(uint32_t crc, const void *bytes, uint32_t count);

/* Writes header and payload to `image`, which has room for `size` bytes. */
int tiny_image_write(void *image, uint32_t size, uint32_t model, uint32_t sequence,
                     const void *payload, uint32_t bytes);

/* Whether `size` bytes are an image of this model, whose weights have so many bytes. */
int tiny_image_check(const void *image, uint32_t size, uint32_t model, uint32_t bytes);

/* Copies the payload of an image that passes the check; of another, nothing. */
int tiny_image_read(const void *image, uint32_t size, uint32_t model, void *payload,
                    uint32_t bytes);

/* Two slots, each with room for an image. Call-backs return 0 when all is done. A slot that is
 * written has been erased before; its payload is written first, its header last.
 */
typedef struct {
  int (*read)(void *user, uint32_t slot, uint32_t offset, void *to, uint32_t bytes);
  int (*write)(void *user, uint32_t slot, uint32_t offset, const void *from, uint32_t bytes);
  int (*erase)(void *user, uint32_t slot);
  void *user;
} tiny_image_storage;

/* Saves to the slot that holds no image of this model, or the older one, and reads it back. The
 * other slot is not touched.
 */
int tiny_image_save(const tiny_image_storage *storage, uint32_t model, const void *payload,
                    uint32_t bytes);

/* Loads the newest image of this model that is whole. Where there is none, the payload stays as it
 * was, and the result says what is wrong with the slot that comes closest.
 */
int tiny_image_load(const tiny_image_storage *storage, uint32_t model, void *payload,
                    uint32_t bytes);

#endif /* TVM_TINY_WEIGHTS_IMAGE_H */
