#include "timer.h"

#include "system_registers.h"

#define SYST_CSR REGISTER(0xe000e010u)
#define SYST_RVR REGISTER(0xe000e014u)
#define SYST_CVR REGISTER(0xe000e018u)

#define SYST_CSR_ENABLE (1u << 0)
#define SYST_CSR_INTERRUPT (1u << 1)
#define SYST_CSR_PROCESSOR_CLOCK (1u << 2)

/* The counter has 24 bits and counts down to 0; the interrupt counts its rounds. */
#define COUNTER_BITS 24
#define COUNTER_MAX ((1u << COUNTER_BITS) - 1u)

static volatile uint32_t rounds;

void SysTick_Handler(void);

/* The vector table in startup.c names it. */
void SysTick_Handler(void)
{
    rounds++;
}

void timer_start(void)
{
    SYST_RVR = COUNTER_MAX;
    SYST_CVR = 0; /* any write clears it; it starts with the reload value */
    rounds = 0;
    SYST_CSR = SYST_CSR_ENABLE | SYST_CSR_INTERRUPT | SYST_CSR_PROCESSOR_CLOCK;
}

uint64_t timer_ticks(void)
{
    uint32_t before, counter;

    do {
        before = rounds;
        counter = SYST_CVR;
    } while (before != rounds); /* a round ended in between: read again */
    /* the interrupt comes with 0, so 0 is the first tick of a round */
    return ((uint64_t)before << COUNTER_BITS) + ((0u - counter) & COUNTER_MAX);
}
