/* The registers of the system control space that start-up and the fault handler use. */
#ifndef SYSTEM_REGISTERS_H
#define SYSTEM_REGISTERS_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define SCB_CCR REGISTER(0xe000ed14u)
#define SCB_SHCSR REGISTER(0xe000ed24u)
#define SCB_CFSR REGISTER(0xe000ed28u)
#define SCB_HFSR REGISTER(0xe000ed2cu)
#define SCB_MMFAR REGISTER(0xe000ed34u)
#define SCB_BFAR REGISTER(0xe000ed38u)
#define SCB_CPACR REGISTER(0xe000ed88u)
#define MPU_CTRL REGISTER(0xe000ed94u)
#define MPU_RNR REGISTER(0xe000ed98u)
#define MPU_RBAR REGISTER(0xe000ed9cu)
#define MPU_ATTRIBUTES REGISTER(0xe000eda0u) /* RASR on Armv7-M, RLAR on Armv8-M */
#define MPU_MAIR0 REGISTER(0xe000edc0u)      /* Armv8-M only */

#define SCB_CCR_DIV_0_TRP (1u << 4)
#define SCB_SHCSR_FAULTS_ENABLED (7u << 16) /* MemManage, BusFault, UsageFault */
#define SCB_CPACR_FPU_FULL_ACCESS (0xfu << 20) /* CP10 and CP11: FPU and Helium */
#define MPU_CTRL_ENABLE 1u

/* Armv6-M and Armv8-M baseline have neither separate faults nor their status registers. */
#if __ARM_ARCH >= 7 && !defined(__ARM_ARCH_8M_BASE__)
#define HAS_FAULT_STATUS 1
#else
#define HAS_FAULT_STATUS 0
#endif

#endif
