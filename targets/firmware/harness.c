/*
 * The measuring main function: runs the model once for each sample of input.bin.
 *
 * input.bin    the inputs of all samples, one after the other
 * output.bin   the outputs of all samples, in the same way
 * stats.bin    struct harness_stats
 */
#include "harness_io.h"
#include "harness_model.h"
#include "stack_meter.h"

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_NO_FILE = 64 };

struct harness_stats {
    int32_t return_code; /* of the model: the first that is not 0 ends the run */
    int32_t stack_bytes; /* deepest use of the stack by the run function, -1: not measured */
    int32_t samples;     /* run to the end */
};

static uint8_t arena[HARNESS_ARENA_BYTES] __attribute__((aligned(HARNESS_ARENA_ALIGN)));
#if HARNESS_FAST_ARENA_BYTES > 0
/* where the linker script has the fast memory */
static uint8_t fast_arena[HARNESS_FAST_ARENA_BYTES]
    __attribute__((aligned(HARNESS_ARENA_ALIGN), section(".bss.fast_arena")));
#endif
#if HARNESS_STATE_BYTES > 0
static uint8_t state[HARNESS_STATE_BYTES] __attribute__((aligned(HARNESS_ARENA_ALIGN)));
#endif
static subject_context context;

#if HARNESS_BY_ROWS
/* Inputs by rows stay in the file until the model asks for them. */
struct row_source {
    int32_t file;
    size_t position; /* of the sample's first row */
    size_t row_bytes;
};

static struct row_source sources[HARNESS_INPUT_COUNT];
static size_t next_sample;

static __attribute__((noinline)) int harness_read_rows(void *user, int first_row, int rows,
                                                       subject_row_type *dst)
{
    const struct row_source *source = user;
    const size_t bytes = (size_t)rows * source->row_bytes;

    harness_seek(source->file, source->position + (size_t)first_row * source->row_bytes);
    return harness_read(source->file, dst, bytes) == bytes ? 0 : 1;
}

static bool read_sample(int32_t file)
{
    size_t position = next_sample;
    unsigned i;

    for (i = 0; i < HARNESS_INPUT_COUNT; i++) {
        sources[i] = (struct row_source){file, position, subject_row_bytes[i]};
        harness_seek(file, position);
        position += subject_input_bytes[i];
        if (position > harness_length(file)) {
            return false;
        }
        if (subject_row_bytes[i] > 0) {
            (void)subject_set_source(&context, i, harness_read_rows, &sources[i]);
        } else {
            (void)harness_read(file, subject_input(&context, i), subject_input_bytes[i]);
        }
    }
    next_sample = position;
    return true;
}
#else
static bool read_sample(int32_t file)
{
    unsigned i;

    for (i = 0; i < HARNESS_INPUT_COUNT; i++) {
        if (harness_read(file, subject_input(&context, i), subject_input_bytes[i]) !=
            subject_input_bytes[i]) {
            return false;
        }
    }
    return true;
}
#endif

static void write_outputs(int32_t file)
{
    unsigned i;

    for (i = 0; i < HARNESS_OUTPUT_COUNT; i++) {
        (void)harness_write(file, subject_output(&context, i), subject_output_bytes[i]);
    }
}

/* Not inlined: what lies below this function's stack pointer is the model's. */
static __attribute__((noinline)) void measure_run(struct harness_stats *stats)
{
    int32_t used;

    stack_paint();
    stats->return_code = subject_run(&context);
    used = stack_used();
    if (used > stats->stack_bytes) {
        stats->stack_bytes = used;
    }
}

static void run_samples(int32_t input, int32_t output, struct harness_stats *stats)
{
    while (stats->return_code == 0 && read_sample(input)) {
        measure_run(stats);
        if (stats->return_code == 0) {
            write_outputs(output);
            stats->samples++;
        }
    }
}

int main(void)
{
    struct harness_stats stats = {0, -1, 0};
    int32_t input = harness_open_input("input.bin");
    int32_t output = harness_open_output("output.bin");
    int32_t stats_file = harness_open_output("stats.bin");

    if (input < 0 || output < 0 || stats_file < 0) {
        return EXIT_NO_FILE;
    }
#if HARNESS_FAST_ARENA_BYTES > 0
    stats.return_code =
        subject_init(&context, arena, sizeof arena, fast_arena, sizeof fast_arena);
#elif HARNESS_STATE_BYTES > 0
    stats.return_code = subject_init(&context, arena, sizeof arena, state, sizeof state);
#else
    stats.return_code = subject_init(&context, arena, sizeof arena);
#endif
    run_samples(input, output, &stats);
    (void)harness_write(stats_file, &stats, sizeof stats);
    harness_close(input);
    harness_close(output);
    harness_close(stats_file);
    return EXIT_DONE;
}
