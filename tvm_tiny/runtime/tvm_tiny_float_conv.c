#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_float_layers.h"
#include "tvm_tiny_gradient_sums.h"

TINY_SCALAR_FLOATS

/* Some input channels of a group, for up to 24 of its output channels. */
typedef struct {
  const tiny_window *window;
  const float *data, *weight; /* of the first channels */
  float *panel, *output;
  int32_t rows, count; /* input channels, output channels */
  int32_t has_few_zeros;
} conv_part;

/* The weights of a tap, input channel by input channel. */
static void turn_weights(const conv_part *part, int32_t tap, int32_t width) {
  const tiny_window *window = part->window;
  const int32_t depth = window->channels / window->groups;
  const int32_t step = window->kernel_height * window->kernel_width * depth;
  const float *weight = part->weight + tap * depth;
  float *panel = part->panel;
  for (int32_t row = 0; row < part->rows; ++row) {
    for (int32_t j = 0; j < part->count; ++j) {
      panel[j] = weight[j * step + row];
    }
    tiny_zero_floats(panel + part->count, width - part->count);
    panel += width;
  }
}

/* Adds the products of a tap, in the run of rows and of columns whose windows have it inside. */
static void add_tap(const conv_part *part, tiny_run rows, tiny_run columns, int32_t width) {
  const tiny_window *window = part->window;
  tiny_products products = {.panel = part->panel,
                            .from_step = window->outputs,
                            .to_step = window->outputs,
                            .row_step = window->stride_width * window->channels,
                            .factor_step = 1,
                            .count = part->rows,
                            .rows = columns.count,
                            .width = width,
                            .has_few_zeros = part->has_few_zeros};
  for (int32_t y = 0; y < rows.count; ++y) {
    const int32_t from = (rows.start + y * window->stride_height) * window->width + columns.start;
    const int32_t to = (rows.first + y) * window->columns + columns.first;
    products.factors = part->data + from * window->channels;
    products.from = products.to = part->output + to * window->outputs;
    tiny_add_products(&products, part->count);
  }
}

static void add_part(const conv_part *part) {
  const tiny_window *window = part->window;
  const int32_t width = tiny_panel_width(part->count);
  for (int32_t ky = 0; ky < window->kernel_height; ++ky) {
    const tiny_run rows = tiny_run_of(ky * window->dilation_height - window->top,
                                      window->stride_height, window->height, window->rows);
    for (int32_t kx = 0; kx < window->kernel_width; ++kx) {
      const tiny_run columns = tiny_run_of(kx * window->dilation_width - window->left,
                                           window->stride_width, window->width, window->columns);
      turn_weights(part, ky * window->kernel_width + kx, width);
      add_tap(part, rows, columns, width);
    }
  }
}

void tiny_float_conv2d(const float *data, const float *weight, const float *bias,
                       const int32_t *table, float *panel, float *output, int32_t block) {
  tiny_window window;
  memcpy(&window, table, sizeof window);
  const int32_t depth = window.channels / window.groups;
  const int32_t per_group = window.outputs / window.groups;
  const int32_t step = window.kernel_height * window.kernel_width * depth;
  for (int32_t pixel = 0; pixel < window.rows * window.columns; ++pixel) {
    memcpy(output + pixel * window.outputs, bias, (size_t)window.outputs * sizeof *bias);
  }
  conv_part part = {.window = &window, .panel = panel};
  part.has_few_zeros = tiny_has_few_zeros(data, window.height * window.width * window.channels);
  for (int32_t first = 0; first < window.outputs; first += part.count) {
    const int32_t group = first / per_group;
    part.count = tiny_min(TINY_SUMS, (group + 1) * per_group - first);
    part.output = output + first;
    for (int32_t channel = 0; channel < depth; channel += block) {
      part.rows = tiny_min(block, depth - channel);
      part.data = data + group * depth + channel;
      part.weight = weight + first * step + channel;
      add_part(&part);
    }
  }
}
