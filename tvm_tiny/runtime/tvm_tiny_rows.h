/* Tensors of which only some rows exist at a time. Rows count from the image's upper border; those
 * above and below the image hold what windows see there.
 */
#ifndef TVM_TINY_ROWS_H
#define TVM_TINY_ROWS_H

#include <stdint.h>

typedef struct tiny_rows {
  uint8_t *bytes;
  int32_t pitch;    /* bytes of a row, whole words */
  int32_t height;   /* rows of the image */
  int32_t capacity; /* rows that there is room for */
  int32_t fill;     /* four bytes of a border's rows */
  int32_t first;    /* the first row that exists */
  int32_t end;      /* and the one behind the last */
  int32_t needed;   /* the first row that will be read again */
} tiny_rows;

/* Room for `count` rows behind the last, which count as made; what is not needed makes way. */
void *tiny_rows_add(tiny_rows *rows, int32_t count);

/* As many rows of the border. */
void tiny_rows_add_border(tiny_rows *rows, int32_t count);

/* `count` rows of another tensor. */
void tiny_rows_copy(tiny_rows *rows, const tiny_rows *source, int32_t count);

/* Where a row is. */
static inline const void *tiny_rows_at(const tiny_rows *rows, int32_t row) {
  return rows->bytes + (row - rows->first) * rows->pitch;
}

/* Whether all rows before `end` exist. Behind the last row of an image come those of its border. */
static inline int tiny_rows_reach(tiny_rows *rows, int32_t end) {
  if (rows->end < end && rows->end >= rows->height) {
    tiny_rows_add_border(rows, end - rows->end);
  }
  return rows->end >= end;
}

/* Whether there are rows to be made. */
static inline int tiny_rows_open(const tiny_rows *rows) { return rows->end < rows->height; }

#endif /* TVM_TINY_ROWS_H */
