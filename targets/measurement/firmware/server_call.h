/* Calling code that may never come back by itself. */
#ifndef SERVER_CALL_H
#define SERVER_CALL_H

#include "fault.h"

#include <stdbool.h>
#include <stdint.h>

/* Faults and time-outs of the callee end the call: false then, and `report` says why. */
bool server_call(uint32_t entry, uint32_t argument, uint32_t timeout_ms,
                 struct fault_report *report);

#endif
