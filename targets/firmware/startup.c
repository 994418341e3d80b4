/*
 * Start-up: from reset to main, with every fault reported and the memory limits enforced.
 *
 * Code runs in thread mode on the process stack, at the very bottom of RAM, so that an overflow
 * leaves RAM and faults. Handlers have a small main stack of their own above it: a fault that is
 * caused by the stack itself still finds a stack to be reported on.
 */
#include "fault.h"
#include "mpu_regions.h"
#include "semihosting.h"
#include "system_registers.h"

#include <stdint.h>

/* from the linker script */
extern uint32_t __stack_top[];
extern uint32_t __fault_stack_top[];
extern const uint32_t __data_load[];
extern uint32_t __data_start[], __data_end[];
extern uint32_t __bss_start[], __bss_end[];

int main(void);
void Reset_Handler(void);
void system_start(void) __attribute__((noreturn, used));

static void enable_faults(void)
{
#if HAS_FAULT_STATUS
    SCB_SHCSR |= SCB_SHCSR_FAULTS_ENABLED;
    SCB_CCR |= SCB_CCR_DIV_0_TRP;
#endif
}

static void enable_fpu(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    SCB_CPACR |= SCB_CPACR_FPU_FULL_ACCESS;
    __asm__ volatile("dsb\n\tisb" : : : "memory");
#endif
}

static void enable_mpu(void)
{
#if MPU_REGION_COUNT > 0
    uint32_t i;

#if __ARM_ARCH >= 8
    MPU_MAIR0 = 0xffu; /* attribute 0: normal memory, write-back */
#endif
    for (i = 0; i < MPU_REGION_COUNT; i++) {
        MPU_RNR = i;
        MPU_RBAR = mpu_regions[i].base;
        MPU_ATTRIBUTES = mpu_regions[i].attributes;
    }
    /* neither a background region nor an MPU in HardFault: its handler must always work */
    MPU_CTRL = MPU_CTRL_ENABLE;
    __asm__ volatile("dsb\n\tisb" : : : "memory");
#endif
}

static void initialise_memory(void)
{
    const uint32_t *source = __data_load;
    uint32_t *word;

    for (word = __data_start; word < __data_end; word++) {
        *word = *source++;
    }
    for (word = __bss_start; word < __bss_end; word++) {
        *word = 0;
    }
}

void system_start(void)
{
    enable_faults();
    enable_fpu();
    initialise_memory();
    enable_mpu();
    semihosting_exit(main());
}

/* The hardware starts on the main stack; leave that to the handlers before any C runs. */
__attribute__((naked, noreturn)) void Reset_Handler(void)
{
    __asm__ volatile("ldr r0, =__stack_top\n\t"
                     "msr psp, r0\n\t"
                     "movs r0, #2\n\t" /* CONTROL.SPSEL: thread mode uses the process stack */
                     "msr control, r0\n\t"
                     "isb\n\t"
                     "bl system_start\n\t"
                     ".ltorg");
}

/* No interrupt of a device is ever enabled, so the table ends with the system exceptions. */
__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    __fault_stack_top, (void *)Reset_Handler, (void *)fault_entry, (void *)fault_entry,
    (void *)fault_entry, (void *)fault_entry, (void *)fault_entry, (void *)fault_entry,
    (void *)fault_entry, (void *)fault_entry, (void *)fault_entry, (void *)fault_entry,
    (void *)fault_entry, (void *)fault_entry, (void *)fault_entry, (void *)SysTick_Handler};
