/*
 * A call whose faults come back.
 *
 * The callee's registers are saved on the stack. A fault's handler writes down what happened and
 * returns from the exception to a frame of its own making, whose program counter is the end of the
 * call: whatever the callee did to its stack below, the server goes on.
 */
#include "server_call.h"

#include "semihosting.h"
#include "server_memory.h"
#include "server_registers.h"

enum { FRAME_LR = 5, FRAME_PC = 6, FRAME_PSR = 7, FRAME_WORDS = 8 };

#define CFSR_STACKING_FAILED ((1u << 4) | (1u << 12) | (1u << 20))
#define PSR_THUMB (1u << 24)
#define SYSTICK_LONGEST 0xffffffu

/* from the linker script */
extern uint32_t __ram_start[], __ram_end[];

uint32_t server_stack_pointer; /* in the call; 0 outside */
static struct fault_report last_fault;
uint32_t server_ticks_left;

uint32_t *server_fault(const uint32_t *frame) __attribute__((used));
int server_enter(uint32_t entry, uint32_t argument);
void server_leave(void);

#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
#define SAVE_FLOATS "vpush {d8-d15}\n\t"
#define RESTORE_FLOATS "vpop {d8-d15}\n\t"
#else
#define SAVE_FLOATS
#define RESTORE_FLOATS
#endif

/* 0 when the callee returned, 1 when server_leave ended it. */
__attribute__((naked)) int server_enter(uint32_t entry __attribute__((unused)),
                                        uint32_t argument __attribute__((unused)))
{
    __asm__ volatile("push {r3-r11, lr}\n\t" SAVE_FLOATS
                     "ldr r2, =server_stack_pointer\n\t"
                     "str sp, [r2]\n\t"
                     "mov r2, r0\n\t"
                     "mov r0, r1\n\t"
                     "blx r2\n\t"
                     "movs r0, #0\n"
                     "server_end_of_call:\n\t" RESTORE_FLOATS
                     "pop {r3-r11, pc}\n\t"
                     ".ltorg");
}

/* Where a fault's handler returns to: the stack as it was when the call began. */
__attribute__((naked)) void server_leave(void)
{
    __asm__ volatile("ldr r2, =server_stack_pointer\n\t"
                     "ldr r2, [r2]\n\t"
                     "mov sp, r2\n\t"
                     "movs r0, #1\n\t"
                     "b server_end_of_call\n\t"
                     ".ltorg");
}

static uint32_t exception_number(void)
{
    uint32_t number;

    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    return number;
}

/* Takes the callee's exception frame, and returns the one to leave by. */
uint32_t *server_fault(const uint32_t *frame)
{
    uint32_t *leave = (uint32_t *)(uintptr_t)server_stack_pointer - FRAME_WORDS;
    uint32_t i;

    last_fault.exception = exception_number();
    if (server_stack_pointer == 0) { /* a fault of the server itself */
        semihosting_exit(FAULT_EXIT_CODE + (int32_t)last_fault.exception);
    }
    last_fault.cfsr = SCB_CFSR;
    last_fault.hfsr = SCB_HFSR;
    last_fault.mmfar = SCB_MMFAR;
    last_fault.bfar = SCB_BFAR;
    last_fault.sp = (uint32_t)(uintptr_t)frame;
    last_fault.pc = 0;
    last_fault.lr = 0;
    if ((last_fault.cfsr & CFSR_STACKING_FAILED) == 0 && frame >= __ram_start &&
        frame + FRAME_WORDS <= __ram_end) {
        last_fault.pc = frame[FRAME_PC];
        last_fault.lr = frame[FRAME_LR];
    }
    SCB_CFSR = last_fault.cfsr; /* ones clear what is set */
    SCB_HFSR = last_fault.hfsr;
    SYSTICK_CSR = 0;
    for (i = 0; i < FRAME_WORDS; i++) {
        leave[i] = 0;
    }
    leave[FRAME_PC] = (uint32_t)(uintptr_t)server_leave & ~1u;
    leave[FRAME_PSR] = PSR_THUMB;
    return leave;
}

/* The frame to leave by holds no floating-point registers, whatever the callee's held. */
__attribute__((naked)) void fault_entry(void)
{
    __asm__ volatile("mrs r0, psp\n\t"
                     "push {r0, lr}\n\t"
                     "bl server_fault\n\t"
                     "msr psp, r0\n\t"
                     "pop {r0, lr}\n\t"
                     "orr lr, lr, #0x10\n\t"
                     "bx lr");
}

/* Counts down a time limit; the last tick ends the call like a fault. */
__attribute__((naked)) void SysTick_Handler(void)
{
    __asm__ volatile("ldr r0, =server_ticks_left\n\t"
                     "ldr r1, [r0]\n\t"
                     "subs r1, #1\n\t"
                     "str r1, [r0]\n\t"
                     "beq.w fault_entry\n\t"
                     "bx lr\n\t"
                     ".ltorg");
}

static void start_timer(uint32_t timeout_ms)
{
    if (timeout_ms == 0) {
        return;
    }
    server_ticks_left = timeout_ms;
    SYSTICK_RVR = SERVER_TICKS_PER_MS - 1;
    SYSTICK_CVR = 0;
    SYSTICK_CSR = SYSTICK_CSR_ENABLED;
}

bool server_call(uint32_t entry, uint32_t argument, uint32_t timeout_ms,
                 struct fault_report *report)
{
    int ended_early;

    start_timer(timeout_ms);
    ended_early = server_enter(entry, argument);
    SYSTICK_CSR = 0;
    server_stack_pointer = 0;
    if (ended_early != 0) {
        *report = last_fault;
    }
    return ended_early == 0;
}
