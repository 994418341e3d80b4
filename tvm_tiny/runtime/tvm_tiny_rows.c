/* Tensors of which only some rows exist at a time: see tvm_tiny_rows.h. */
#include "tvm_tiny_rows.h"

#include "tvm_tiny.h"

enum { WORDS_AT_ONCE = 4 };

/* Downwards in memory, where source and target may overlap. */
static void move_words(uint32_t *to, const uint32_t *from, int32_t count) {
  for (; count >= WORDS_AT_ONCE; count -= WORDS_AT_ONCE) {
    const uint32_t a = from[0], b = from[1], c = from[2], d = from[3];
    to[0] = a;
    to[1] = b;
    to[2] = c;
    to[3] = d;
    from += WORDS_AT_ONCE;
    to += WORDS_AT_ONCE;
    TINY_KEEP_LOOP(from);
  }
  for (; count > 0; --count) {
    *to++ = *from++;
    TINY_KEEP_LOOP(from);
  }
}

static uint32_t *row_at(const tiny_rows *rows, int32_t row) {
  return (uint32_t *)(void *)(rows->bytes + (row - rows->first) * rows->pitch);
}

void *tiny_rows_add(tiny_rows *rows, int32_t count) {
  if (rows->end + count - rows->first > rows->capacity) {
    const int32_t kept = tiny_min(rows->needed, rows->end);
    uint32_t *const begin = row_at(rows, rows->first);
    move_words(begin, row_at(rows, kept), (rows->end - kept) * rows->pitch / 4);
    rows->first = kept;
  }
  uint32_t *const added = row_at(rows, rows->end);
  rows->end += count;
  return added;
}

void tiny_rows_add_border(tiny_rows *rows, int32_t count) {
  uint32_t *words = (uint32_t *)tiny_rows_add(rows, count);
  for (int32_t left = count * rows->pitch / 4; left > 0; --left) {
    *words++ = (uint32_t)rows->fill;
    TINY_KEEP_LOOP(words);
  }
}

void tiny_rows_copy(tiny_rows *rows, const tiny_rows *source, int32_t count) {
  const uint32_t *const from = (const uint32_t *)tiny_rows_at(source, rows->end);
  move_words((uint32_t *)tiny_rows_add(rows, count), from, count * rows->pitch / 4);
}
