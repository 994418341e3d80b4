/* Every exception ends here: fault.bin is written and the program exits with 100 + its number. */
#ifndef FAULT_H
#define FAULT_H

#include <stdint.h>

enum { FAULT_EXIT_CODE = 100 };

struct fault_report {
    uint32_t exception;
    uint32_t pc; /* 0 when the processor could not save it */
    uint32_t lr;
    uint32_t cfsr;
    uint32_t hfsr;
    uint32_t mmfar;
    uint32_t bfar;
    uint32_t sp;
};

void fault_entry(void);
void SysTick_Handler(void);

#endif
