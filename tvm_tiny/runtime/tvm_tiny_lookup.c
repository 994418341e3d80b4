/* Table lookup: gathered by vectors, or eight loads in a row. */
#include "tvm_tiny_lookup.h"

#include "tvm_tiny_dsp.h"

#if TINY_HAS_MVE

#include <arm_mve.h>

void tiny_lookup(const int8_t *x, int32_t count, const int8_t *table, int8_t *y) {
  for (; count > 0; count -= 16) {
    const mve_pred16_t inside = vctp8q((uint32_t)count);
    const uint8x16_t index = vldrbq_z_u8((const uint8_t *)x, inside);
    vstrbq_p_s8(y, vldrbq_gather_offset_z_s8(table, index, inside), inside);
    x += 16;
    y += 16;
  }
}

#else

void tiny_lookup(const int8_t *x, int32_t count, const int8_t *table, int8_t *y) {
  const uint8_t *index = (const uint8_t *)x;
  for (; count >= 8; count -= 8) {
#pragma GCC unroll 8
    for (int32_t i = 0; i < 8; ++i) {
      y[i] = table[index[i]];
    }
    index += 8;
    y += 8;
  }
  for (; count > 0; --count) {
    *y++ = table[*index++];
  }
}

#endif
