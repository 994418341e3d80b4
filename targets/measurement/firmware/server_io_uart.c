/* The line as a serial port: the UART of Arm's CMSDK, without interrupts. */
#include "server_io.h"
#include "server_memory.h"
#include "system_registers.h"

#include <stdint.h>

#define UART_DATA REGISTER(SERVER_UART + 0x00u)
#define UART_STATE REGISTER(SERVER_UART + 0x04u)
#define UART_CTRL REGISTER(SERVER_UART + 0x08u)
#define UART_BAUDDIV REGISTER(SERVER_UART + 0x10u)

#define STATE_SENDS (1u << 0)    /* the byte before is still in the buffer */
#define STATE_RECEIVED (1u << 1)
#define CTRL_BOTH_WAYS 3u

bool server_open(void)
{
    UART_BAUDDIV = SERVER_CLOCK_HZ / SERVER_BAUD;
    UART_CTRL = CTRL_BOTH_WAYS;
    return true;
}

bool server_read(void *buffer, size_t size)
{
    uint8_t *byte = buffer;

    for (; size > 0; size--) {
        while ((UART_STATE & STATE_RECEIVED) == 0) {
        }
        *byte++ = (uint8_t)UART_DATA;
    }
    return true;
}

bool server_write(const void *buffer, size_t size)
{
    const uint8_t *byte = buffer;

    for (; size > 0; size--) {
        while ((UART_STATE & STATE_SENDS) != 0) {
        }
        UART_DATA = *byte++;
    }
    return true;
}
