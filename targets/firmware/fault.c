#include "fault.h"

#include "semihosting.h"
#include "system_registers.h"

#include <stdbool.h>

/* the exception frame, in words */
enum { FRAME_LR = 5, FRAME_PC = 6, FRAME_WORDS = 8 };

/* MemManage, bus or stack limit fault while the frame was pushed */
#define CFSR_STACKING_FAILED ((1u << 4) | (1u << 12) | (1u << 20))

#define EXC_RETURN_PROCESS_STACK (1u << 2)

/* from the linker script */
extern uint32_t __ram_start[], __ram_end[];

void fault_report_and_exit(const uint32_t *main_stack, const uint32_t *process_stack,
                           uint32_t exc_return) __attribute__((noreturn, used));

static uint32_t exception_number(void)
{
    uint32_t number;

    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    return number;
}

static void read_status(struct fault_report *report)
{
#if HAS_FAULT_STATUS
    report->cfsr = SCB_CFSR;
    report->hfsr = SCB_HFSR;
    report->mmfar = SCB_MMFAR;
    report->bfar = SCB_BFAR;
#else
    report->cfsr = 0;
    report->hfsr = 0;
    report->mmfar = 0;
    report->bfar = 0;
#endif
}

/* A frame that was not pushed, or lies outside of RAM, must not be read: that faults again. */
static bool frame_is_readable(const uint32_t *frame, uint32_t cfsr)
{
    return (cfsr & CFSR_STACKING_FAILED) == 0 && frame >= __ram_start &&
           frame + FRAME_WORDS <= __ram_end;
}

void fault_report_and_exit(const uint32_t *main_stack, const uint32_t *process_stack,
                           uint32_t exc_return)
{
    const uint32_t *frame =
        (exc_return & EXC_RETURN_PROCESS_STACK) != 0 ? process_stack : main_stack;
    struct fault_report report;
    bool readable;
    int32_t file;

    report.exception = exception_number();
    report.sp = (uint32_t)(uintptr_t)frame;
    read_status(&report);
    readable = frame_is_readable(frame, report.cfsr);
    report.pc = readable ? frame[FRAME_PC] : 0;
    report.lr = readable ? frame[FRAME_LR] : 0;
    file = semihosting_open("fault.bin", SEMIHOSTING_WRITE);
    (void)semihosting_write(file, &report, sizeof report);
    semihosting_close(file);
    semihosting_exit(FAULT_EXIT_CODE + (int32_t)report.exception);
}

__attribute__((naked)) void fault_entry(void)
{
    __asm__ volatile("mrs r0, msp\n\t"
                     "mrs r1, psp\n\t"
                     "mov r2, lr\n\t" /* EXC_RETURN tells which of the two was in use */
                     "bl fault_report_and_exit");
}

/* An application may have its own; the measuring harness has none. */
void SysTick_Handler(void) __attribute__((weak, alias("fault_entry")));
