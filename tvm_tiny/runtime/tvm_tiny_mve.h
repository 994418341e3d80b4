/* Bytes moved by sixteen on cores with Helium, one by one elsewhere. */
#ifndef TVM_TINY_MVE_H
#define TVM_TINY_MVE_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
#define TINY_HAS_MVE 1
#else
#define TINY_HAS_MVE 0
#endif

/* Copies `count` bytes, at least one. */
static inline void tiny_copy(const int8_t *from, int32_t count, int8_t *to) {
#if TINY_HAS_MVE
  __asm__ volatile(
      "dlstp.8 lr, %2\n\t"
      "1:\n\t"
      "vldrb.8 q0, [%0], #16\n\t"
      "vstrb.8 q0, [%1], #16\n\t"
      "letp lr, 1b"
      : "+r"(from), "+r"(to)
      : "r"(count)
      : "lr", "d0", "d1", "memory");
#else
  for (int32_t i = 0; i < count; ++i) {
    to[i] = from[i];
  }
#endif
}

/* Writes `count` times one value, at least once. */
static inline void tiny_fill(int8_t *to, int32_t count, int32_t value) {
#if TINY_HAS_MVE
  __asm__ volatile(
      "vdup.8 q0, %2\n\t"
      "dlstp.8 lr, %1\n\t"
      "1:\n\t"
      "vstrb.8 q0, [%0], #16\n\t"
      "letp lr, 1b"
      : "+r"(to)
      : "r"(count), "r"(value)
      : "lr", "d0", "d1", "memory");
#else
  for (int32_t i = 0; i < count; ++i) {
    to[i] = (int8_t)value;
  }
#endif
}

/* Copies sixteen bytes. */
static inline void tiny_copy_chunk(const int8_t *from, int8_t *to) {
#if TINY_HAS_MVE
  __asm__ volatile(
      "vldrb.8 q0, [%0]\n\t"
      "vstrb.8 q0, [%1]"
      :
      : "r"(from), "r"(to)
      : "d0", "d1", "memory");
#else
  memcpy(to, from, 16);
#endif
}

#endif /* TVM_TINY_MVE_H */
