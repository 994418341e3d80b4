#include "tvm_tiny_helium.h"

#include "tvm_tiny.h"
#include "tvm_tiny_mve.h"

void tiny_helium_close_up(const int8_t *from, int32_t pitch, int32_t rows, int32_t count,
                          int8_t *to) {
  for (int32_t i = 0; i < rows; ++i) {
    tiny_copy(from, count, to);
    from += pitch;
    to += count;
  }
}

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

__attribute__((naked)) void tiny_helium_clamp(int8_t *values, int32_t count, int32_t low,
                                              int32_t high) {
  __asm__(
      "push {r7, lr}\n\t"
      "vdup.8 q1, r2\n\t"
      "vdup.8 q2, r3\n\t"
      "dlstp.8 lr, r1\n\t"
      "1:\n\t"
      "vldrb.8 q0, [r0]\n\t"
      "vmax.s8 q0, q0, q1\n\t"
      "vmin.s8 q0, q0, q2\n\t"
      "vstrb.8 q0, [r0], #16\n\t"
      "letp lr, 1b\n\t"
      "pop {r7, pc}");
}

/* Four pixels x two channels. r1 points to the chunks, up to r7; r3 to the weights, r5 to the params,
 * r9 to the output; r11 counts groups. The even registers hold the sums, of channel 0 and then of
 * channel 1. The first chunks stay in q0 to q3 for all channels; q6 and q7 collect the results.
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

/* The jump enters the loop where its four chunks leave what is left of the depth, or skips it. On the
 * stack: where it goes, for the first and the second two channels; the second chunks' address; the
 * output's zero point; the pixels' offsets.
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

#define CONV(way, SCALE)                                                                         \
  __attribute__((naked)) void tiny_helium_conv_##way(                                            \
      const int8_t *chunks, const int8_t *weights, const int32_t *params, int8_t *y,             \
      int32_t count, int32_t groups, int32_t pitch, int32_t zero_point) {                        \
    __asm__(                                                                                     \
        "push {r4-r11, lr}\n\t"                                                                  \
        "vpush {d8-d15}\n\t"                                                                     \
        "sub sp, #36\n\t"                                                                        \
        "mov r9, r3\n\t"                                                                         \
        "mov r3, r1\n\t"                                                                         \
        "mov r5, r2\n\t"                                                                         \
        "mov r1, r0\n\t"                                                                         \
        "ldrd r4, r11, [sp, #136]\n\t" /* count, groups */                                       \
        "ldrd r6, r8, [sp, #144]\n\t"  /* pitch, zero point */                                   \
        "vldrb.8 q0, [r1], #16\n\t"                                                              \
        "vldrb.8 q1, [r1], #16\n\t"                                                              \
        "vldrb.8 q2, [r1], #16\n\t"                                                              \
        "vldrb.8 q3, [r1], #16\n\t"                                                              \
        "add r7, r0, r4, lsl #6\n\t"                                                             \
        "mov r0, #0\n\t"                                                                         \
        "vidup.u32 q4, r0, #1\n\t"                                                               \
        "vmul.i32 q4, q4, r6\n\t"                                                                \
        "vstrw.32 q4, [sp, #16]\n\t"                                                             \
        "strd r1, r8, [sp, #8]\n\t"                                                              \
        "adr.w r0, 2f + 1\n\t"                                                                   \
        "adr.w r2, 4f + 1\n\t"                                                                   \
        "subs r4, #1\n\t"                                                                        \
        "beq 5f\n\t"                                                                             \
        "adr.w r0, 1f + 1\n\t"                                                                   \
        "adr.w r2, 3f + 1\n\t"                                                                   \
        "rsb r4, #0\n\t"                                                                         \
        "and r4, #3\n\t"                                                                         \
        "mov r6, #" CHUNK_BYTES "\n\t"                                                           \
        "mla r0, r4, r6, r0\n\t"                                                                 \
        "mla r2, r4, r6, r2\n\t"                                                                 \
        "5:\n\t"                                                                                 \
        "strd r0, r2, [sp]\n\t"                                                                  \
        "6:\n\t" TWO_CHANNELS("0", "1", "2", SCALE, "q6") TWO_CHANNELS("4", "3", "4", SCALE, "q7") \
        FINISH_FOUR_CHANNELS("6")                                                                \
        "add sp, #36\n\t"                                                                        \
        "vpop {d8-d15}\n\t"                                                                      \
        "pop {r4-r11, pc}");                                                                     \
  }

CONV(away, SCALE_AWAY)
CONV(relu, SCALE_RELU)
CONV(half_up, SCALE_HALF_UP)
CONV(any, SCALE_ANY)

#define TWO_NARROW_CHANNELS(SCALE, result)                         \
  FIRST_CHUNK FINISH_TWO_CHANNELS(SCALE, result)

/* Tiles of pixels of one chunk. On the stack: r11 and the weights, the depth and the bytes from the end
 * of a pixel's output to the next tile's, the zero point, the pixels' offsets; the caller's arguments
 * from 136 on. r7 counts tiles.
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

/* One pixel x four channels. r1 points to the pixel, up to r9; r3 to the weights, r5 to the params, r7
 * to the output; r11 counts channels; r10 is the zero point, r12 where to enter the loop.
 */
#define DENSE_CHUNK                \
  "vldrb.8 q0, [r1], #16\n\t"      \
  "vldrb.8 q1, [r3], #16\n\t"      \
  "vmladava.s8 r0, q0, q1\n\t"     \
  "vldrb.8 q2, [r3], #16\n\t"      \
  "vmladava.s8 r2, q0, q2\n\t"     \
  "vldrb.8 q1, [r3], #16\n\t"      \
  "vmladava.s8 r4, q0, q1\n\t"     \
  "vldrb.8 q2, [r3], #16\n\t"      \
  "vmladava.s8 r6, q0, q2\n\t"
#define DENSE_CHUNK_BYTES "36"

/* q0 = sums, in q1 bias, q2 multiplier, q3 shift */
#define SCALE_FOUR_RELU            \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vqrdmulh.s32 q0, q0, q2\n\t"    \
  "vrshl.s32 q0, q0, q3\n\t"
#define SCALE_FOUR_AWAY            \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vshr.s32 q1, q0, #31\n\t"       \
  "vqrdmulh.s32 q0, q0, q2\n\t"    \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vrshl.s32 q0, q0, q3\n\t"
#define SCALE_FOUR_ANY             \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vshl.i32 q1, q3, #17\n\t"       \
  "vshr.u32 q1, q1, #25\n\t"       \
  "vshl.s32 q0, q0, q1\n\t"        \
  "vand q1, q0, q3\n\t"            \
  "vshr.s32 q1, q1, #31\n\t"       \
  "vqrdmulh.s32 q0, q0, q2\n\t"    \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vrshl.s32 q0, q0, q3\n\t"
#define SCALE_FOUR_HALF_UP         \
  "vshl.i32 q0, q0, #7\n\t"        \
  SCALE_FOUR_RELU

#define DENSE(way, SCALE)                                                              \
  __attribute__((naked)) void tiny_helium_dense_##way(                                 \
      const int8_t *pixel, const int8_t *weights, const int32_t *params, int8_t *y,    \
      int32_t count, int32_t channels, int32_t zero_point) {                           \
    __asm__(                                                                           \
        "push {r4-r11, lr}\n\t"                                                        \
        "mov r7, r3\n\t"                                                               \
        "mov r3, r1\n\t"                                                               \
        "mov r5, r2\n\t"                                                               \
        "mov r8, r0\n\t"                                                               \
        "ldrd r4, r11, [sp, #36]\n\t" /* count, channels */                            \
        "ldr r10, [sp, #44]\n\t"                                                       \
        "add r9, r0, r4, lsl #4\n\t"                                                   \
        "rsb r4, #0\n\t"                                                               \
        "and r4, #3\n\t"                                                               \
        "mov r6, #" DENSE_CHUNK_BYTES "\n\t"                                           \
        "adr.w r12, 2f + 1\n\t"                                                        \
        "mla r12, r4, r6, r12\n\t"                                                     \
        "1:\n\t"                                                                       \
        "mov r1, r8\n\t"                                                               \
        "mov r0, #0\n\t"                                                               \
        "mov r2, #0\n\t"                                                               \
        "mov r4, #0\n\t"                                                               \
        "mov r6, #0\n\t"                                                               \
        "bx r12\n\t"                                                                   \
        "2:\n\t" DENSE_CHUNK DENSE_CHUNK DENSE_CHUNK DENSE_CHUNK                       \
        "cmp r1, r9\n\t"                                                               \
        "bne.w 2b\n\t"                                                                 \
        "vmov q0[2], q0[0], r0, r4\n\t"                                                \
        "vmov q0[3], q0[1], r2, r6\n\t"                                                \
        "vldrw.32 q1, [r5], #16\n\t"                                                   \
        "vldrw.32 q2, [r5], #16\n\t"                                                   \
        "vldrw.32 q3, [r5], #16\n\t" SCALE                                             \
        "vqmovnb.s32 q0, q0\n\t"                                                       \
        "vqadd.s16 q0, q0, r10\n\t"                                                    \
        "vqmovnb.s16 q0, q0\n\t"                                                       \
        "vctp.32 r11\n\t"                                                              \
        "vpst\n\t"                                                                     \
        "vstrbt.32 q0, [r7], #4\n\t"                                                   \
        "subs r11, #4\n\t"                                                             \
        "bgt.w 1b\n\t"                                                                 \
        "pop {r4-r11, pc}");                                                           \
  }

DENSE(away, SCALE_FOUR_AWAY)
DENSE(relu, SCALE_FOUR_RELU)
DENSE(half_up, SCALE_FOUR_HALF_UP)
DENSE(any, SCALE_FOUR_ANY)

#else

void tiny_helium_pixels(const int8_t *first, int32_t step, int32_t count, int8_t *chunks) {
  for (int32_t i = 0; i < TINY_TILE_PIXELS; ++i) {
    for (int32_t k = 0; k < count; ++k) {
      const int32_t chunk = k / TINY_CHUNK * TINY_TILE_PIXELS + i;
      chunks[chunk * TINY_CHUNK + k % TINY_CHUNK] = first[i * step + k];
    }
  }
}

void tiny_helium_clamp(int8_t *values, int32_t count, int32_t low, int32_t high) {
  for (int32_t i = 0; i < count; ++i) {
    values[i] = (int8_t)tiny_clamp(values[i], low, high);
  }
}

/* `count` chunks of x, `x_step` bytes apart, times those of w */
static int32_t dot(const int8_t *x, int32_t x_step, const int8_t *w, int32_t w_step, int32_t count) {
  int32_t sum = 0;
  for (int32_t chunk = 0; chunk < count; ++chunk) {
    for (int32_t k = 0; k < TINY_CHUNK; ++k) {
      sum += x[chunk * x_step + k] * w[chunk * w_step + k];
    }
  }
  return sum;
}

#define CONV(way)                                                                                \
  void tiny_helium_conv_##way(const int8_t *chunks, const int8_t *weights, const int32_t *params, \
                              int8_t *y, int32_t count, int32_t groups, int32_t pitch,            \
                              int32_t zero_point) {                                               \
    for (int32_t c = 0; c < 4 * groups; ++c) {                                                    \
      const int32_t channel = c / 4 * 4 + (c % 4 == 1 ? 2 : c % 4 == 2 ? 1 : c % 4);              \
      const int8_t *w = weights + (c / 2 * count * 2 + c % 2) * TINY_CHUNK;                       \
      for (int32_t i = 0; i < TINY_TILE_PIXELS; ++i) {                                            \
        const int32_t sum = dot(chunks + i * TINY_CHUNK, TINY_TILE_PIXELS * TINY_CHUNK, w,        \
                                2 * TINY_CHUNK, count);                                           \
        const int32_t value = tiny_helium_##way(sum, params + 3 * c, 1) + zero_point;                   \
        y[i * pitch + channel] = (int8_t)tiny_clamp(value, INT8_MIN, INT8_MAX);                   \
      }                                                                                           \
    }                                                                                             \
  }

CONV(away)
CONV(relu)
CONV(half_up)
CONV(any)

#define NARROW(way)                                                                              \
  void tiny_helium_narrow_##way(const int8_t *x, const int8_t *weights, const int32_t *params,    \
                                int8_t *y, int32_t depth, int32_t groups, int32_t tiles,          \
                                int32_t zero_point) {                                             \
    int8_t chunks[TINY_TILE_PIXELS * TINY_CHUNK] = {0};                                           \
    for (int32_t tile = 0; tile < tiles; ++tile) {                                                \
      tiny_helium_pixels(x, depth, depth, chunks);                                                \
      tiny_helium_conv_##way(chunks, weights, params, y, 1, groups, 4 * groups, zero_point);      \
      x += TINY_TILE_PIXELS * depth;                                                              \
      y += TINY_TILE_PIXELS * 4 * groups;                                                         \
    }                                                                                             \
  }

NARROW(away)
NARROW(relu)
NARROW(half_up)
NARROW(any)

#define DENSE(way)                                                                                \
  void tiny_helium_dense_##way(const int8_t *pixel, const int8_t *weights, const int32_t *params, \
                               int8_t *y, int32_t count, int32_t channels, int32_t zero_point) {  \
    for (int32_t c = 0; c < channels; ++c) {                                                      \
      const int8_t *w = weights + (c / 4 * count * 4 + c % 4) * TINY_CHUNK;                       \
      const int32_t sum = dot(pixel, TINY_CHUNK, w, 4 * TINY_CHUNK, count);                       \
      const int32_t value = tiny_helium_##way(sum, params + c / 4 * 12 + c % 4, 4) + zero_point;        \
      y[c] = (int8_t)tiny_clamp(value, INT8_MIN, INT8_MAX);                                       \
    }                                                                                             \
  }

DENSE(away)
DENSE(relu)
DENSE(half_up)
DENSE(any)

#endif
