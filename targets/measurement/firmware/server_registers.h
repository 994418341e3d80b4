/* Registers of the core that only the measurement server uses. */
#ifndef SERVER_REGISTERS_H
#define SERVER_REGISTERS_H

#include "system_registers.h"

#define SYSTICK_CSR REGISTER(0xe000e010u)
#define SYSTICK_RVR REGISTER(0xe000e014u)
#define SYSTICK_CVR REGISTER(0xe000e018u)
#define SYSTICK_CSR_ENABLED 7u /* the core's clock, an interrupt at zero */

#define FPCCR REGISTER(0xe000ef34u)
#define FPCCR_LAZY_STACKING (1u << 30)

#define DEMCR REGISTER(0xe000edfcu)
#define DEMCR_TRACE (1u << 24)
#define DWT_CTRL REGISTER(0xe0001000u)
#define DWT_CTRL_COUNT_CYCLES 1u
#define DWT_CYCCNT REGISTER(0xe0001004u)

#endif
