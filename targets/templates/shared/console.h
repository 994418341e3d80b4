/* Text for people: goes to the terminal of the emulator or debugger (Arm semihosting).
 *
 * To use a serial port instead, replace console_flush in console.c.
 */
#ifndef BOARD_CONSOLE_H
#define BOARD_CONSOLE_H

#include <stdint.h>

/* Whole lines are sent at once, when their newline comes. */
void console_text(const char *text);

void console_signed(int64_t value);
void console_unsigned(uint64_t value);

/* Nine digits: enough to tell any two float values apart. */
void console_float(float value);

#endif
