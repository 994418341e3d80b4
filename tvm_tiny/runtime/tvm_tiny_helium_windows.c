#include "tvm_tiny_helium_windows.h"

#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_helium.h"
#include "tvm_tiny_mve.h"

/* Where the tap at (row, column) of an image begins, or NULL outside of it. */
static const int8_t *tap(const int8_t *image, const int32_t *window, int32_t row, int32_t column) {
  const int32_t width = window[TINY_HELIUM_WIDTH];
  /* as unsigned numbers, negative ones are too large as well */
  const int is_inside = (uint32_t)row < (uint32_t)window[TINY_HELIUM_HEIGHT] &&
                        (uint32_t)column < (uint32_t)width;
  return is_inside ? image + (row * width + column) * window[TINY_HELIUM_CHANNELS] : NULL;
}

static int32_t input_row(const int32_t *window, int32_t row) {
  return row * window[TINY_HELIUM_STRIDE_HEIGHT] - window[TINY_HELIUM_TOP];
}

static int32_t input_column(const int32_t *window, int32_t column) {
  return column * window[TINY_HELIUM_STRIDE_WIDTH] - window[TINY_HELIUM_LEFT];
}

void tiny_helium_window(const int8_t *image, const int32_t *window, int32_t pixel, int8_t *bytes) {
  const int32_t channels = window[TINY_HELIUM_CHANNELS];
  int32_t row = input_row(window, pixel / window[TINY_HELIUM_OUTPUT_WIDTH]);
  for (int32_t ky = 0; ky < window[TINY_HELIUM_KERNEL_HEIGHT]; ++ky) {
    int32_t column = input_column(window, pixel % window[TINY_HELIUM_OUTPUT_WIDTH]);
    for (int32_t kx = 0; kx < window[TINY_HELIUM_KERNEL_WIDTH]; ++kx) {
      const int8_t *source = tap(image, window, row, column);
      if (source != NULL) {
        tiny_copy(source, channels, bytes);
      } else {
        tiny_fill(bytes, channels, (int8_t)(window[TINY_HELIUM_ZERO_POINT] & 0xff));
      }
      bytes += channels;
      column += window[TINY_HELIUM_DILATION_WIDTH];
    }
    row += window[TINY_HELIUM_DILATION_HEIGHT];
  }
}

/* Some columns of a row, those outside of the image too. */
static void copy_edge(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                      int32_t count, int8_t *edge) {
  const int32_t channels = window[TINY_HELIUM_CHANNELS];
  const int32_t begin = tiny_max(column, 0);
  const int32_t end = tiny_min(column + count, window[TINY_HELIUM_WIDTH]);
  tiny_fill(edge, count * channels, (int8_t)(window[TINY_HELIUM_ZERO_POINT] & 0xff));
  if (begin < end) {
    tiny_copy(tap(image, window, row, begin), (end - begin) * channels,
              edge + (begin - column) * channels);
  }
}

/* Four windows side by side, row by row. */
static void gather_rows(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                        int8_t *chunks, int8_t *edge) {
  const int32_t channels = window[TINY_HELIUM_CHANNELS];
  const int32_t stride = window[TINY_HELIUM_STRIDE_WIDTH];
  const int32_t width = window[TINY_HELIUM_KERNEL_WIDTH];
  const int32_t count = (TINY_TILE_PIXELS - 1) * stride + width;
  const int32_t run = width * channels;
  const int is_inside = column >= 0 && column + count <= window[TINY_HELIUM_WIDTH];
  for (int32_t ky = window[TINY_HELIUM_KERNEL_HEIGHT]; ky > 0; --ky) {
    if ((uint32_t)row >= (uint32_t)window[TINY_HELIUM_HEIGHT]) {
      tiny_fill(chunks, TINY_TILE_PIXELS * run, (int8_t)(window[TINY_HELIUM_ZERO_POINT] & 0xff));
    } else if (is_inside) {
      tiny_helium_pixels(tap(image, window, row, column), stride * channels, run, chunks);
    } else {
      copy_edge(image, window, row, column, count, edge);
      tiny_helium_pixels(edge, stride * channels, run, chunks);
    }
    chunks += TINY_TILE_PIXELS * run;
    row += window[TINY_HELIUM_DILATION_HEIGHT];
  }
}

/* One window, tap by tap, to every fourth chunk. */
static void gather_taps(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                        int8_t *chunks) {
  const int8_t *outside = (const int8_t *)&window[TINY_HELIUM_ZERO_POINT];
  const int32_t channels = window[TINY_HELIUM_CHANNELS];
  const int32_t width = window[TINY_HELIUM_WIDTH];
  for (int32_t ky = 0; ky < window[TINY_HELIUM_KERNEL_HEIGHT]; ++ky) {
    const int is_row_inside = (uint32_t)row < (uint32_t)window[TINY_HELIUM_HEIGHT];
    int32_t tap_column = column;
    for (int32_t kx = 0; kx < window[TINY_HELIUM_KERNEL_WIDTH]; ++kx) {
      const int is_inside = is_row_inside && (uint32_t)tap_column < (uint32_t)width;
      const int8_t *source = is_inside ? image + (row * width + tap_column) * channels : outside;
      const int32_t step = is_inside ? TINY_CHUNK : 0;
      for (int32_t c = 0; c < channels; c += TINY_CHUNK) {
        tiny_copy_chunk(source, chunks);
        source += step;
        chunks += TINY_TILE_PIXELS * TINY_CHUNK;
      }
      tap_column += window[TINY_HELIUM_DILATION_WIDTH];
    }
    row += window[TINY_HELIUM_DILATION_HEIGHT];
  }
}

void tiny_helium_windows(const int8_t *image, const int32_t *window, int32_t pixel, int8_t *chunks,
                         int8_t *edge) {
  const int32_t width = window[TINY_HELIUM_OUTPUT_WIDTH];
  int32_t row = pixel / width;
  int32_t column = pixel % width;
  if (column + TINY_TILE_PIXELS <= width && window[TINY_HELIUM_DILATION_WIDTH] == 1) {
    gather_rows(image, window, input_row(window, row), input_column(window, column), chunks, edge);
    return;
  }
  for (int32_t i = 0; i < TINY_TILE_PIXELS; ++i) {
    gather_taps(image, window, input_row(window, row), input_column(window, column),
                chunks + TINY_CHUNK * i);
    if (++column == width) {
      column = 0;
      ++row;
    }
  }
}

/* A row's channels of one group, those of pixel after pixel. */
static void copy_group(const int8_t *row, const int32_t *window, int8_t *to) {
  const int32_t channels = window[TINY_HELIUM_CHANNELS];
  for (int32_t x = 0; x < window[TINY_HELIUM_WIDTH]; ++x) {
    tiny_copy(row, channels, to);
    row += window[TINY_HELIUM_PIXEL];
    to += channels;
  }
}

void tiny_helium_band(const int8_t *image, const int32_t *window, int32_t row, int32_t rows,
                      int8_t *band) {
  const int32_t zero_point = (int8_t)(window[TINY_HELIUM_ZERO_POINT] & 0xff);
  const int32_t pitch = window[TINY_HELIUM_PITCH];
  const int32_t inside = window[TINY_HELIUM_WIDTH] * window[TINY_HELIUM_CHANNELS];
  const int32_t left = window[TINY_HELIUM_LEFT] * window[TINY_HELIUM_CHANNELS];
  for (const int32_t end = row + rows; row < end; ++row) {
    tiny_fill(band, pitch, zero_point);
    if ((uint32_t)row < (uint32_t)window[TINY_HELIUM_HEIGHT]) {
      if (window[TINY_HELIUM_PIXEL] > window[TINY_HELIUM_CHANNELS]) {
        copy_group(image + row * window[TINY_HELIUM_WIDTH] * window[TINY_HELIUM_PIXEL], window,
                   band + left);
      } else {
        tiny_copy(image + row * inside, inside, band + left);
      }
    }
    band += pitch;
  }
}

#if TINY_HAS_MVE

#pragma GCC diagnostic ignored "-Wunused-parameter"

/* r4 to r7 point to the pixels, whose chunks grow in q0 to q3; r1 to the pieces, r3 to the chunks.

 */
#define PIECE(x0, x1, x2, x3)        \
  "ldrd r9, r10, [r1], #8\n\t"       \
  "vmsr p0, r10\n\t"                 \
  "add r4, r9\n\t"                   \
  "add r5, r9\n\t"                   \
  "add r6, r9\n\t"                   \
  "add r7, r9\n\t"                   \
  "vpstttt\n\t"                      \
  "vldrbt.8 " x0 ", [r4]\n\t"        \
  "vldrbt.8 " x1 ", [r5]\n\t"        \
  "vldrbt.8 " x2 ", [r6]\n\t"        \
  "vldrbt.8 " x3 ", [r7]\n\t"

#define PIECES                         \
  "1:\n\t"                             \
  "ldr r8, [r1], #4\n\t"               \
  PIECE("q0", "q1", "q2", "q3")        \
  "wls lr, r8, 3f\n\t"                 \
  "2:\n\t"                             \
  PIECE("q4", "q5", "q6", "q7")        \
  "vorr q0, q0, q4\n\t"                \
  "vorr q1, q1, q5\n\t"                \
  "vorr q2, q2, q6\n\t"                \
  "vorr q3, q3, q7\n\t"                \
  "le lr, 2b\n\t"                      \
  "3:\n\t"                             \
  "vstrb.8 q0, [r3], #16\n\t"          \
  "vstrb.8 q1, [r3], #16\n\t"          \
  "vstrb.8 q2, [r3], #16\n\t"          \
  "vstrb.8 q3, [r3], #16\n\t"          \
  "subs r2, #1\n\t"                    \
  "bne 1b\n\t"

__attribute__((naked)) static void gather_pieces(const int8_t *const *pixels, const int32_t *pieces,
                                                 int32_t count, int8_t *chunks) {
  __asm__(
      "push {r4-r10, lr}\n\t"
      "vpush {d8-d15}\n\t"
      "ldm r0, {r4, r5, r6, r7}\n\t" PIECES
      "vpop {d8-d15}\n\t"
      "pop {r4-r10, pc}");
}

__attribute__((naked)) void tiny_helium_pieces_of_row(const int8_t *first, const int32_t *pieces,
                                                      int32_t count, int8_t *chunks,
                                                      int32_t step) {
  __asm__(
      "push {r4-r10, lr}\n\t"
      "vpush {d8-d15}\n\t"
      "ldr r8, [sp, #96]\n\t"
      "mov r4, r0\n\t"
      "add r5, r4, r8\n\t"
      "add r6, r5, r8\n\t"
      "add r7, r6, r8\n\t" PIECES
      "vpop {d8-d15}\n\t"
      "pop {r4-r10, pc}");
}

#else

static void gather_pieces(const int8_t *const *pixels, const int32_t *pieces, int32_t count,
                          int8_t *chunks) {
  int32_t offset = 0;
  memset(chunks, 0, (size_t)(count * TINY_TILE_PIXELS * TINY_CHUNK));
  for (int32_t chunk = 0; chunk < count; ++chunk) {
    for (int32_t more = *pieces++; more >= 0; --more) {
      offset += pieces[0];
      for (int32_t i = 0; i < TINY_TILE_PIXELS * TINY_CHUNK; ++i) {
        if (((uint32_t)pieces[1] >> (i % TINY_CHUNK) & 1u) != 0u) {
          chunks[i] = pixels[i / TINY_CHUNK][offset + i % TINY_CHUNK];
        }
      }
      pieces += 2;
    }
    chunks += TINY_TILE_PIXELS * TINY_CHUNK;
  }
}

void tiny_helium_pieces_of_row(const int8_t *first, const int32_t *pieces, int32_t count,
                               int8_t *chunks, int32_t step) {
  const int8_t *pixels[TINY_TILE_PIXELS];
  for (int32_t i = 0; i < TINY_TILE_PIXELS; ++i) {
    pixels[i] = first + i * step;
  }
  gather_pieces(pixels, pieces, count, chunks);
}

#endif

void tiny_helium_pieces(const int8_t *band, const int32_t *window, int32_t pixel,
                        const int32_t *pieces, int32_t count, int8_t *chunks) {
  const int32_t width = window[TINY_HELIUM_OUTPUT_WIDTH];
  const int32_t step = window[TINY_HELIUM_STRIDE_WIDTH] * window[TINY_HELIUM_CHANNELS];
  int32_t column = pixel % width;
  const int8_t *row =
      band + pixel / width * window[TINY_HELIUM_STRIDE_HEIGHT] * window[TINY_HELIUM_PITCH];
  const int8_t *pixels[TINY_TILE_PIXELS];
  for (int32_t i = 0; i < TINY_TILE_PIXELS; ++i) {
    pixels[i] = row + column * step;
    if (++column == width) {
      column = 0;
      row += window[TINY_HELIUM_STRIDE_HEIGHT] * window[TINY_HELIUM_PITCH];
    }
  }
  gather_pieces(pixels, pieces, count, chunks);
}
