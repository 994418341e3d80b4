#include "tvm_tiny_helium.h"

#include "tvm_tiny.h"
#include "tvm_tiny_mve.h"

#if TINY_HAS_MVE

/* The functions below are all assembly, and compilers do not see them use their arguments: all
 * fourteen registers are in use, which none could be relied upon to keep so.
 */
#pragma GCC diagnostic ignored "-Wunused-parameter"

__attribute__((naked)) void tiny_helium_pixels(const int8_t *first, int32_t step, int32_t count,
                                               int8_t *chunks) {
  __asm__(
      "push {r4, r5, lr}\n\t"
      "add r4, r0, r1\n\t"
      "add r5, r4, r1\n\t"
      "add r1, r5\n\t"
      "dlstp.8 lr, r2\n\t"
      "1:\n\t"
      "vldrb.8 q0, [r0], #16\n\t"
      "vldrb.8 q1, [r4], #16\n\t"
      "vstrb.8 q0, [r3], #16\n\t"
      "vldrb.8 q2, [r5], #16\n\t"
      "vstrb.8 q1, [r3], #16\n\t"
      "vldrb.8 q3, [r1], #16\n\t"
      "vstrb.8 q2, [r3], #16\n\t"
      "vstrb.8 q3, [r3], #16\n\t"
      "letp lr, 1b\n\t"
      "pop {r4, r5, pc}");
}

/* Four pixels x two channels. r1 points to the chunks, up to r7; r3 to the weights, r5 to the
 * params, r9 to the output; r11 counts groups. The even registers hold the sums, of channel 0 and
 * then of channel 1. The first chunks stay in q0 to q3 for all channels; q6 and q7 collect the
 * results.
 */
#define FIRST_CHUNK                \
  "vldrb.8 q4, [r3], #16\n\t"      \
  "vldrb.8 q5, [r3], #16\n\t"      \
  "vmladav.s8 r0, q0, q4\n\t"      \
  "vmladav.s8 r2, q1, q4\n\t"      \
  "vmladav.s8 r4, q2, q4\n\t"      \
  "vmladav.s8 r6, q3, q4\n\t"      \
  "vmladav.s8 r8, q0, q5\n\t"      \
  "vmladav.s8 r10, q1, q5\n\t"     \
  "vmladav.s8 r12, q2, q5\n\t"     \
  "vmladav.s8 lr, q3, q5\n\t"
#define CHUNK_BYTES "56"
#define NEXT_CHUNK                 \
  "vldrb.8 q4, [r3], #16\n\t"      \
  "vldrb.8 q7, [r1], #16\n\t"      \
  "vldrb.8 q5, [r3], #16\n\t"      \
  "vmladava.s8 r0, q7, q4\n\t"     \
  "vmladava.s8 r8, q7, q5\n\t"     \
  "vldrb.8 q7, [r1], #16\n\t"      \
  "vmladava.s8 r2, q7, q4\n\t"     \
  "vmladava.s8 r10, q7, q5\n\t"    \
  "vldrb.8 q7, [r1], #16\n\t"      \
  "vmladava.s8 r4, q7, q4\n\t"     \
  "vmladava.s8 r12, q7, q5\n\t"    \
  "vldrb.8 q7, [r1], #16\n\t"      \
  "vmladava.s8 r6, q7, q4\n\t"     \
  "vmladava.s8 lr, q7, q5\n\t"

/* q4 or q5 = sums of one channel, to `result`; q4 is free for the second one */
#define SCALE_AWAY(sums, bias, multiplier, shift, result)          \
  "vadd.i32 " sums ", " sums ", " bias "\n\t"                      \
  "vshr.s32 " result ", " sums ", #31\n\t"                         \
  "vqrdmlah.s32 " result ", " sums ", " multiplier "\n\t"          \
  "vrshl.s32 " result ", " shift "\n\t"
#define SCALE_RELU(sums, bias, multiplier, shift, result)          \
  "vadd.i32 " sums ", " sums ", " bias "\n\t"                      \
  "vqrdmulh.s32 " result ", " sums ", " multiplier "\n\t"          \
  "vrshl.s32 " result ", " shift "\n\t"
/* the sum that was in r12 is in a vector already */
#define SCALE_ANY(sums, bias, multiplier, shift, result)           \
  "ubfx r12, " shift ", #8, #7\n\t"                                \
  "vadd.i32 " sums ", " sums ", " bias "\n\t"                      \
  "vshl.s32 " sums ", r12\n\t"                                     \
  "vdup.32 " result ", " shift "\n\t"                              \
  "vand " result ", " result ", " sums "\n\t"                      \
  "vshr.s32 " result ", " result ", #31\n\t"                       \
  "vqrdmlah.s32 " result ", " sums ", " multiplier "\n\t"          \
  "vrshl.s32 " result ", " shift "\n\t"
#define SCALE_HALF_UP(sums, bias, multiplier, shift, result)       \
  "vshl.i32 " sums ", " sums ", #7\n\t" /* fraction bits */        \
  SCALE_RELU(sums, bias, multiplier, shift, result)

#define FINISH_TWO_CHANNELS(SCALE, result)                         \
  "vmov q4[2], q4[0], r0, r4\n\t"                                  \
  "vmov q4[3], q4[1], r2, r6\n\t"                                  \
  "vmov q5[2], q5[0], r8, r12\n\t"                                 \
  "vmov q5[3], q5[1], r10, lr\n\t"                                 \
  "ldm r5!, {r0, r2, r4, r6, r8, r10}\n\t"                         \
  SCALE("q4", "r0", "r2", "r4", result)                            \
  "vqmovnb.s32 " result ", " result "\n\t"                         \
  SCALE("q5", "r6", "r8", "r10", "q4")                             \
  "vqmovnt.s32 " result ", q4\n\t"

/* q6 and q7 to the output's four pixels; to `more` if there are more groups */
#define FINISH_FOUR_CHANNELS(more)                                 \
  "ldr r0, [sp, #12]\n\t"                                          \
  "vldrw.32 q5, [sp, #16]\n\t"                                     \
  "vqadd.s16 q6, q6, r0\n\t"                                       \
  "vqadd.s16 q7, q7, r0\n\t"                                       \
  "vqmovnb.s16 q6, q6\n\t"                                         \
  "vqmovnt.s16 q6, q7\n\t"                                         \
  "vstrw.32 q6, [r9, q5]\n\t"                                      \
  "add r9, #4\n\t"                                                 \
  "subs r11, #1\n\t"                                               \
  "bne.w " more "b\n\t"

/* The jump enters the loop where its four chunks leave what is left of the depth, or skips it. On
 * the stack: where it goes, for the first and the second two channels; the second chunks' address;
 * the output's zero point; the pixels' offsets.
 */
#define TWO_CHANNELS(entry, loop, end, SCALE, result)              \
  FIRST_CHUNK                                                      \
  "ldr pc, [sp, #" entry "]\n\t"                                   \
  loop ":\n\t" NEXT_CHUNK NEXT_CHUNK NEXT_CHUNK NEXT_CHUNK         \
  "cmp r1, r7\n\t"                                                 \
  "bne.w " loop "b\n\t"                                            \
  "ldr.w r1, [sp, #8]\n\t"                                         \
  end ":\n\t"                                                      \
  FINISH_TWO_CHANNELS(SCALE, result)

/* Where TWO_CHANNELS enter their loops for a depth of r4 chunks. */
#define FIND_ENTRIES                                                \
  "adr.w r0, 2f + 1\n\t"                                            \
  "adr.w r2, 4f + 1\n\t"                                            \
  "subs r4, #1\n\t"                                                 \
  "beq 5f\n\t"                                                      \
  "adr.w r0, 1f + 1\n\t"                                            \
  "adr.w r2, 3f + 1\n\t"                                            \
  "rsb r4, #0\n\t"                                                  \
  "and r4, #3\n\t"                                                  \
  "mov r6, #" CHUNK_BYTES "\n\t"                                    \
  "mla r0, r4, r6, r0\n\t"                                          \
  "mla r2, r4, r6, r2\n\t"                                          \
  "5:\n\t"                                                          \
  "strd r0, r2, [sp]\n\t"

#define CONV(way, SCALE)                                                                           \
  __attribute__((naked)) void tiny_helium_conv_##way(                                              \
      const int8_t *chunks, const int8_t *weights, const int32_t *params, int8_t *y,               \
      int32_t count, int32_t groups, int32_t pitch, int32_t zero_point) {                          \
    __asm__(                                                                                       \
        "push {r4-r11, lr}\n\t"                                                                    \
        "vpush {d8-d15}\n\t"                                                                       \
        "sub sp, #36\n\t"                                                                          \
        "mov r9, r3\n\t"                                                                           \
        "mov r3, r1\n\t"                                                                           \
        "mov r5, r2\n\t"                                                                           \
        "mov r1, r0\n\t"                                                                           \
        "ldrd r4, r11, [sp, #136]\n\t" /* count, groups */                                         \
        "ldrd r6, r8, [sp, #144]\n\t"  /* pitch, zero point */                                     \
        "vldrb.8 q0, [r1], #16\n\t"                                                                \
        "vldrb.8 q1, [r1], #16\n\t"                                                                \
        "vldrb.8 q2, [r1], #16\n\t"                                                                \
        "vldrb.8 q3, [r1], #16\n\t"                                                                \
        "add r7, r0, r4, lsl #6\n\t"                                                               \
        "mov r0, #0\n\t"                                                                           \
        "vidup.u32 q4, r0, #1\n\t"                                                                 \
        "vmul.i32 q4, q4, r6\n\t"                                                                  \
        "vstrw.32 q4, [sp, #16]\n\t"                                                               \
        "strd r1, r8, [sp, #8]\n\t"                                                                \
        FIND_ENTRIES                                                                               \
        "6:\n\t" TWO_CHANNELS("0", "1", "2", SCALE, "q6") TWO_CHANNELS("4", "3", "4", SCALE, "q7") \
        FINISH_FOUR_CHANNELS("6")                                                                  \
        "add sp, #36\n\t"                                                                          \
        "vpop {d8-d15}\n\t"                                                                        \
        "pop {r4-r11, pc}");                                                                       \
  }

CONV(away, SCALE_AWAY)
CONV(relu, SCALE_RELU)
CONV(half_up, SCALE_HALF_UP)
CONV(any, SCALE_ANY)

#define TWO_NARROW_CHANNELS(SCALE, result)                         \
  FIRST_CHUNK FINISH_TWO_CHANNELS(SCALE, result)

/* Tiles of pixels of one chunk. On the stack: r11 and the weights, the depth and the bytes from
 * the end of a pixel's output to the next tile's, the zero point, the pixels' offsets; the
 * caller's arguments from 136 on. r7 counts tiles.
 */
#define NARROW(way, SCALE)                                                                       \
  __attribute__((naked)) void tiny_helium_narrow_##way(                                          \
      const int8_t *x, const int8_t *weights, const int32_t *params, int8_t *y, int32_t depth,   \
      int32_t groups, int32_t tiles, int32_t zero_point) {                                       \
    __asm__(                                                                                     \
        "push {r4-r11, lr}\n\t"                                                                  \
        "vpush {d8-d15}\n\t"                                                                     \
        "sub sp, #36\n\t"                                                                        \
        "mov r9, r3\n\t"                                                                         \
        "ldrd r4, r11, [sp, #136]\n\t" /* depth, groups */                                       \
        "ldrd r7, r8, [sp, #144]\n\t"  /* tiles, zero point */                                   \
        "strd r1, r2, [sp]\n\t"                                                                  \
        "mov r1, r0\n\t"                                                                         \
        "lsl r6, r11, #2\n\t"                                                                    \
        "add r10, r6, r6, lsl #1\n\t"                                                            \
        "strd r10, r8, [sp, #8]\n\t"                                                             \
        "mov r0, #0\n\t"                                                                         \
        "vidup.u32 q4, r0, #1\n\t"                                                               \
        "vmul.i32 q4, q4, r6\n\t"                                                                \
        "vstrw.32 q4, [sp, #16]\n\t"                                                             \
        "vctp.8 r4\n\t"                                                                          \
        "1:\n\t"                                                                                 \
        "ldrd r0, r11, [sp, #136]\n\t"                                                           \
        "ldrd r3, r5, [sp]\n\t"                                                                  \
        "add r2, r1, r0\n\t"                                                                     \
        "add r4, r2, r0\n\t"                                                                     \
        "add r6, r4, r0\n\t"                                                                     \
        "vpstttt\n\t"                                                                            \
        "vldrbt.8 q0, [r1]\n\t"                                                                  \
        "vldrbt.8 q1, [r2]\n\t"                                                                  \
        "vldrbt.8 q2, [r4]\n\t"                                                                  \
        "vldrbt.8 q3, [r6]\n\t"                                                                  \
        "add r1, r6, r0\n\t"                                                                     \
        "2:\n\t" TWO_NARROW_CHANNELS(SCALE, "q6") TWO_NARROW_CHANNELS(SCALE, "q7")               \
        FINISH_FOUR_CHANNELS("2")                                                                \
        "ldr r0, [sp, #8]\n\t"                                                                   \
        "add r9, r0\n\t"                                                                         \
        "subs r7, #1\n\t"                                                                        \
        "bne.w 1b\n\t"                                                                           \
        "add sp, #36\n\t"                                                                        \
        "vpop {d8-d15}\n\t"                                                                      \
        "pop {r4-r11, pc}");                                                                     \
  }

NARROW(away, SCALE_AWAY)
NARROW(relu, SCALE_RELU)
NARROW(half_up, SCALE_HALF_UP)
NARROW(any, SCALE_ANY)

/* Tiles of pixels of several chunks, which go by way of scratch. On the stack, behind what CONV
 * has there: the next tile, tiles left, bytes from the end of a pixel's output to the next tile's,
 * weights, params; the caller's arguments from 156 on.
 */
#define POINTWISE(way, SCALE)                                                                      \
  __attribute__((naked)) void tiny_helium_pointwise_##way(                                         \
      const int8_t *x, const int8_t *weights, const int32_t *params, int8_t *y, int32_t depth,     \
      int32_t groups, int32_t tiles, int32_t zero_point, int32_t count, int8_t *chunks) {          \
    __asm__(                                                                                       \
        "push {r4-r11, lr}\n\t"                                                                    \
        "vpush {d8-d15}\n\t"                                                                       \
        "sub sp, #52\n\t"                                                                          \
        "mov r9, r3\n\t"                                                                           \
        "ldrd r4, r11, [sp, #152]\n\t" /* depth, groups */                                         \
        "ldrd r5, r8, [sp, #160]\n\t"  /* tiles, zero point */                                     \
        "strd r0, r5, [sp, #32]\n\t"                                                               \
        "strd r1, r2, [sp, #44]\n\t"                                                               \
        "lsl r6, r11, #2\n\t"                                                                      \
        "add r10, r6, r6, lsl #1\n\t"                                                              \
        "str r10, [sp, #40]\n\t"                                                                   \
        "mov r0, #0\n\t"                                                                           \
        "vidup.u32 q4, r0, #1\n\t"                                                                 \
        "vmul.i32 q4, q4, r6\n\t"                                                                  \
        "vstrw.32 q4, [sp, #16]\n\t"                                                               \
        "ldrd r4, r3, [sp, #168]\n\t" /* count, chunks */                                          \
        "add r7, r3, r4, lsl #6\n\t"                                                               \
        "add r1, r3, #64\n\t"                                                                      \
        "strd r1, r8, [sp, #8]\n\t"                                                                \
        FIND_ENTRIES                                                                               \
        "7:\n\t"                                                                                   \
        "ldr r1, [sp, #32]\n\t"                                                                    \
        "ldrd r0, r11, [sp, #152]\n\t"                                                             \
        "ldr r3, [sp, #172]\n\t"                                                                   \
        "add r2, r1, r0\n\t"                                                                       \
        "add r4, r2, r0\n\t"                                                                       \
        "add r6, r4, r0\n\t"                                                                       \
        "add r5, r6, r0\n\t"                                                                       \
        "str r5, [sp, #32]\n\t"                                                                    \
        "mov r5, r3\n\t"                                                                           \
        "dlstp.8 lr, r0\n\t"                                                                       \
        "8:\n\t"                                                                                   \
        "vldrb.8 q0, [r1], #16\n\t"                                                                \
        "vldrb.8 q1, [r2], #16\n\t"                                                                \
        "vstrb.8 q0, [r3], #16\n\t"                                                                \
        "vldrb.8 q2, [r4], #16\n\t"                                                                \
        "vstrb.8 q1, [r3], #16\n\t"                                                                \
        "vldrb.8 q3, [r6], #16\n\t"                                                                \
        "vstrb.8 q2, [r3], #16\n\t"                                                                \
        "vstrb.8 q3, [r3], #16\n\t"                                                                \
        "letp lr, 8b\n\t"                                                                          \
        "vldrb.8 q0, [r5], #16\n\t"                                                                \
        "vldrb.8 q1, [r5], #16\n\t"                                                                \
        "vldrb.8 q2, [r5], #16\n\t"                                                                \
        "vldrb.8 q3, [r5], #16\n\t"                                                                \
        "mov r1, r5\n\t"                                                                           \
        "ldrd r3, r5, [sp, #44]\n\t"                                                               \
        "6:\n\t" TWO_CHANNELS("0", "1", "2", SCALE, "q6") TWO_CHANNELS("4", "3", "4", SCALE, "q7") \
        FINISH_FOUR_CHANNELS("6")                                                                  \
        "ldrd r0, r1, [sp, #36]\n\t"                                                               \
        "add r9, r1\n\t"                                                                           \
        "subs r0, #1\n\t"                                                                          \
        "str r0, [sp, #36]\n\t"                                                                    \
        "bne.w 7b\n\t"                                                                             \
        "add sp, #52\n\t"                                                                          \
        "vpop {d8-d15}\n\t"                                                                        \
        "pop {r4-r11, pc}");                                                                       \
  }

POINTWISE(away, SCALE_AWAY)
POINTWISE(relu, SCALE_RELU)
POINTWISE(half_up, SCALE_HALF_UP)
POINTWISE(any, SCALE_ANY)

#else

void tiny_helium_pixels(const int8_t *first, int32_t step, int32_t count, int8_t *chunks) {
  for (int32_t i = 0; i < TINY_TILE_PIXELS; ++i) {
    for (int32_t k = 0; k < count; ++k) {
      const int32_t chunk = k / TINY_CHUNK * TINY_TILE_PIXELS + i;
      chunks[chunk * TINY_CHUNK + k % TINY_CHUNK] = first[i * step + k];
    }
  }
}

#define CONV(way)                                                                                 \
  void tiny_helium_conv_##way(const int8_t *chunks, const int8_t *weights, const int32_t *params, \
                              int8_t *y, int32_t count, int32_t groups, int32_t pitch,            \
                              int32_t zero_point) {                                               \
    for (int32_t c = 0; c < 4 * groups; ++c) {                                                    \
      const int32_t channel = c / 4 * 4 + (c % 4 == 1 ? 2 : c % 4 == 2 ? 1 : c % 4);              \
      const int8_t *w = weights + (c / 2 * count * 2 + c % 2) * TINY_CHUNK;                       \
      for (int32_t i = 0; i < TINY_TILE_PIXELS; ++i) {                                            \
        const int32_t sum = tiny_helium_dot(chunks + i * TINY_CHUNK, 4 * TINY_CHUNK, w,           \
                                2 * TINY_CHUNK, count);                                           \
        const int32_t value = tiny_helium_##way(sum, params + 3 * c, 1) + zero_point;             \
        y[i * pitch + channel] = (int8_t)tiny_clamp(value, INT8_MIN, INT8_MAX);                   \
      }                                                                                           \
    }                                                                                             \
  }

CONV(away)
CONV(relu)
CONV(half_up)
CONV(any)

#define NARROW(way)                                                                            \
  void tiny_helium_narrow_##way(const int8_t *x, const int8_t *weights, const int32_t *params, \
                                int8_t *y, int32_t depth, int32_t groups, int32_t tiles,       \
                                int32_t zero_point) {                                          \
    int8_t chunks[TINY_TILE_PIXELS * TINY_CHUNK] = {0};                                        \
    for (int32_t tile = 0; tile < tiles; ++tile) {                                             \
      tiny_helium_pixels(x, depth, depth, chunks);                                             \
      tiny_helium_conv_##way(chunks, weights, params, y, 1, groups, 4 * groups, zero_point);   \
      x += TINY_TILE_PIXELS * depth;                                                           \
      y += TINY_TILE_PIXELS * 4 * groups;                                                      \
    }                                                                                          \
  }

#define POINTWISE(way)                                                                            \
  void tiny_helium_pointwise_##way(const int8_t *x, const int8_t *weights, const int32_t *params, \
                                   int8_t *y, int32_t depth, int32_t groups, int32_t tiles,       \
                                   int32_t zero_point, int32_t count, int8_t *chunks) {           \
    for (int32_t tile = 0; tile < tiles; ++tile) {                                                \
      tiny_helium_pixels(x, depth, depth, chunks);                                                \
      tiny_helium_conv_##way(chunks, weights, params, y, count, groups, 4 * groups, zero_point);  \
      x += TINY_TILE_PIXELS * depth;                                                              \
      y += TINY_TILE_PIXELS * 4 * groups;                                                         \
    }                                                                                             \
  }

POINTWISE(away)
POINTWISE(relu)
POINTWISE(half_up)
POINTWISE(any)

NARROW(away)
NARROW(relu)
NARROW(half_up)
NARROW(any)

#endif
