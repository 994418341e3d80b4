"""A model written by hand, with the interface of generated ones."""

from __future__ import annotations

import re

MODEL = "toy"
BYTES = 64
SAMPLES = tuple(bytes((7 * i + 31 * sample) % 256 for i in range(BYTES)) for sample in range(3))
INPUT = b"".join(SAMPLES)

# movs, then ten times subs and bne, then bx
ASSEMBLY_INSTRUCTIONS = 1 + 10 * 2 + 1

HEADER = """\
#ifndef TOY_H
#define TOY_H
#include <stddef.h>
#include <stdint.h>
#define TOY_ARENA_BYTES 192
#define TOY_ARENA_ALIGN 16
#define TOY_INPUT_COUNT 1
#define TOY_INPUT_0_BYTES 64
#define TOY_OUTPUT_COUNT 1
#define TOY_OUTPUT_0_BYTES 64
typedef struct { uint8_t *arena; } toy_context;
int toy_init(toy_context *ctx, void *arena, size_t size);
void *toy_input(toy_context *ctx, unsigned index);
int toy_run(toy_context *ctx);
const void *toy_output(toy_context *ctx, unsigned index);
void toy_layer_00_a(const uint8_t *in, uint8_t *out);
void toy_layer_01_b(const uint8_t *in, uint8_t *out);
void toy_layer_02_count(void);
#endif
"""

MODEL_SOURCE = """\
#include "toy.h"

int toy_init(toy_context *ctx, void *arena, size_t size)
{
    ctx->arena = arena;
    return size < TOY_ARENA_BYTES ? 1 : 0;
}

void *toy_input(toy_context *ctx, unsigned index)
{
    return ctx->arena + index;
}

const void *toy_output(toy_context *ctx, unsigned index)
{
    return ctx->arena + 128 + index;
}

int toy_run(toy_context *ctx)
{
    toy_layer_00_a(ctx->arena, ctx->arena + 64);
    toy_layer_01_b(ctx->arena + 64, ctx->arena + 128);
    toy_layer_02_count();
    return 0;
}
"""

LAYERS_SOURCE = """\
#include "toy.h"
#include <string.h>

static const uint8_t weights[64] __attribute__((section(".rodata.weights"))) = {3, 1, 4, 1, 5};
volatile uint32_t toy_sink;
/* an odd number of initialised bytes: start-up must copy them all */
static volatile uint8_t pattern[5] = {0, 0, 0, 0, 0x55};

__attribute__((noinline)) void toy_layer_00_a(const uint8_t *in, uint8_t *out)
{
    for (int i = 0; i < 64; i++) {
        out[i] = (uint8_t)(in[i] + weights[i]);
    }
}

__attribute__((noinline)) void toy_layer_01_b(const uint8_t *in, uint8_t *out)
{
    volatile uint8_t copy[64];

    for (int i = 0; i < 64; i++) {
        copy[i] = in[i];
    }
    for (int i = 0; i < 64; i++) {
        out[i] = (uint8_t)(copy[63 - i] ^ pattern[4]);
    }
    /* here */
    memmove(out, out + toy_sink, (size_t)(toy_sink + 64));
}
"""

ASSEMBLY_SOURCE = """\
    .syntax unified
    .section .text.toy_layer_02_count, "ax", %progbits
    .global toy_layer_02_count
    .type toy_layer_02_count, %function
    .thumb_func
toy_layer_02_count:
    movs r0, #10
1:  subs r0, #1
    bne 1b
    bx lr
    .size toy_layer_02_count, . - toy_layer_02_count
"""

HOST_LAYER_SOURCE = """\
#include "toy.h"
void toy_layer_02_count(void)
{
}
"""


def firmware_sources(fault: str = "") -> dict[str, str]:
    """The model for a board; `fault` is C that the second layer executes at its end."""
    return _sources(fault) | {"count.S": ASSEMBLY_SOURCE}


def host_sources(fault: str = "") -> dict[str, str]:
    """The model for the host."""
    return _sources(fault) | {"count.c": HOST_LAYER_SOURCE}


def with_arena(sources: dict[str, str], arena_bytes: int) -> dict[str, str]:
    """The same model with another arena."""
    header = re.sub(r"ARENA_BYTES \d+", f"ARENA_BYTES {arena_bytes}", sources["toy.h"])
    return sources | {"toy.h": header}


def _sources(fault: str) -> dict[str, str]:
    return {
        "toy.h": HEADER,
        "toy.c": MODEL_SOURCE,
        "layers.c": LAYERS_SOURCE.replace("/* here */", fault),
    }


def expected(samples: tuple[bytes, ...] = SAMPLES) -> bytes:
    """The outputs of all samples."""
    weights = bytes([3, 1, 4, 1, 5]).ljust(BYTES, b"\0")
    return b"".join(
        bytes(((sample[63 - i] + weights[63 - i]) & 0xFF) ^ 0x55 for i in range(BYTES))
        for sample in samples
    )
