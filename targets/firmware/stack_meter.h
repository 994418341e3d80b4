/*
 * How deep a call goes: paint the free stack, make the call, look for the lowest changed word.
 *
 * Both functions must be inlined into the function that makes the call, so that everything below
 * its stack pointer belongs to the callee.
 */
#ifndef STACK_METER_H
#define STACK_METER_H

#include <stdint.h>

#if defined(__arm__)

#define STACK_PAINT 0xa5a5a5a5u

extern uint32_t __stack_bottom[]; /* from the linker script */

static inline __attribute__((always_inline)) uint32_t *stack_pointer(void)
{
    uint32_t *pointer;

    __asm__ volatile("mov %0, sp" : "=r"(pointer) : : "memory");
    return pointer;
}

static inline __attribute__((always_inline)) void stack_paint(void)
{
    /* volatile: a call to memset would use the very stack that is painted */
    volatile uint32_t *const top = stack_pointer();
    volatile uint32_t *word;

    for (word = __stack_bottom; word < top; word++) {
        *word = STACK_PAINT;
    }
}

static inline __attribute__((always_inline)) int32_t stack_used(void)
{
    volatile uint32_t *const top = stack_pointer();
    volatile uint32_t *word = __stack_bottom;

    while (word < top && *word == STACK_PAINT) {
        word++;
    }
    return (int32_t)(4 * (top - word));
}

#else /* a host's stack is not measured */

static inline void stack_paint(void)
{
}

static inline int32_t stack_used(void)
{
    return -1;
}

#endif
#endif
