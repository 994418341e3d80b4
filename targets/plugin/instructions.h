/* What the plugins share: memory that is never given back, and the size of a translated block. */
#ifndef INSTRUCTIONS_H
#define INSTRUCTIONS_H

#include <stdio.h>
#include <stdlib.h>

#include "qemu_plugin_v1.h"

#define EXPORT __attribute__((visibility("default")))

static inline void *allocate(size_t size)
{
    void *memory = calloc(1, size);

    if (memory == NULL) {
        fputs("plugin: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

/*
 * The length comes from the opcode: for the last instruction of a 1 KiB page QEMU 7.2 reports
 * 4 bytes even when it is a 16-bit one. A first halfword of 0b11101..., 0b11110... or 0b11111...
 * starts a 32-bit instruction.
 */
static inline uint32_t instruction_size(const struct qemu_plugin_insn *instruction)
{
    const unsigned char *bytes = qemu_plugin_insn_data(instruction);

    return bytes[1] >> 3 >= 0x1d ? 4 : 2;
}

static inline uint32_t block_size(const struct qemu_plugin_tb *tb, uint32_t address)
{
    const struct qemu_plugin_insn *last =
        qemu_plugin_tb_get_insn(tb, qemu_plugin_tb_n_insns(tb) - 1);

    return (uint32_t)qemu_plugin_insn_vaddr(last) + instruction_size(last) - address;
}

#endif
