#include "console.h"

#include "semihosting.h"

#include <string.h>

enum { LINE_BYTES = 96, FLOAT_DIGITS = 9 };

static char line[LINE_BYTES];
static size_t line_used;

static void console_flush(void)
{
    static int32_t terminal = -1;

    if (terminal < 0) {
        terminal = semihosting_open(":tt", SEMIHOSTING_WRITE);
    }
    (void)semihosting_write(terminal, line, line_used);
    line_used = 0;
}

static void put(char character)
{
    line[line_used++] = character;
    if (character == '\n' || line_used == LINE_BYTES) {
        console_flush();
    }
}

void console_text(const char *text)
{
    while (*text != '\0') {
        put(*text++);
    }
}

void console_unsigned(uint64_t value)
{
    char digits[20];
    unsigned count = 0;

    do {
        digits[count++] = (char)('0' + (char)(value % 10u));
        value /= 10u;
    } while (value != 0);
    while (count > 0) {
        put(digits[--count]);
    }
}

void console_signed(int64_t value)
{
    if (value < 0) {
        put('-');
    }
    console_unsigned(value < 0 ? 0u - (uint64_t)value : (uint64_t)value);
}

/*
 * digits * 10**power = mantissa * 2**exponent, digits from 10**8 to 10**9 - 1.
 *
 * The mantissa keeps its top bit set; each step loses at most its lowest bits, far below the
 * ninth digit.
 */
static uint32_t to_decimal(uint64_t mantissa, int32_t exponent, int32_t *power)
{
    const uint64_t least = 100000000u;
    uint64_t digits;

    *power = 0;
    for (;;) {
        while ((mantissa >> 63) == 0) {
            mantissa <<= 1;
            exponent--;
        }
        if (exponent > -34) { /* above 10**9 */
            mantissa /= 10u;
            (*power)++;
        } else if (exponent < -37) { /* below 10**8 */
            mantissa = (mantissa >> 4) * 10u;
            exponent += 4;
            (*power)--;
        } else {
            digits = ((mantissa >> (-exponent - 1)) + 1u) >> 1; /* rounded */
            if (digits >= least && digits < 10u * least) {
                return (uint32_t)digits;
            }
            if (digits == 10u * least) { /* rounded up to one digit more */
                (*power)++;
                return (uint32_t)least;
            }
            mantissa = digits < least ? (mantissa >> 4) * 10u : mantissa / 10u;
            exponent += digits < least ? 4 : 0;
            *power += digits < least ? -1 : 1;
        }
    }
}

static void print_scientific(uint32_t digits, int32_t power)
{
    char text[FLOAT_DIGITS];
    int32_t i;

    for (i = FLOAT_DIGITS - 1; i >= 0; i--) {
        text[i] = (char)('0' + (char)(digits % 10u));
        digits /= 10u;
    }
    for (i = 0; i < FLOAT_DIGITS; i++) {
        put(text[i]);
        if (i == 0) {
            put('.');
        }
    }
    put('e');
    console_signed(power + FLOAT_DIGITS - 1);
}

void console_float(float value)
{
    uint32_t bits, exponent, fraction, digits;
    int32_t power;

    memcpy(&bits, &value, sizeof bits);
    exponent = bits >> 23 & 0xffu;
    fraction = bits & 0x7fffffu;
    if (exponent == 0xffu && fraction != 0) {
        console_text("nan");
        return;
    }
    if (bits >> 31 != 0) {
        put('-');
    }
    if (exponent == 0xffu) {
        console_text("inf");
    } else if (exponent == 0 && fraction == 0) {
        console_text("0.0");
    } else {
        fraction |= exponent != 0 ? 1u << 23 : 0u;
        digits = to_decimal(fraction, (int32_t)(exponent != 0 ? exponent : 1u) - 150, &power);
        print_scientific(digits, power);
    }
}
