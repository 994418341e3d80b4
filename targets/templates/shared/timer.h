/* Time in ticks of SysTick, which counts the processor's clock. */
#ifndef BOARD_TIMER_H
#define BOARD_TIMER_H

#include <stdint.h>

void timer_start(void);

/* Ticks since timer_start. */
uint64_t timer_ticks(void);

#endif
