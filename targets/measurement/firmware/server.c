/*
 * The measurement server: writes what a host sends into memory, calls a function there, and sends
 * memory back, one request after the other until the line ends.
 *
 * It knows nothing of what it calls. Faults of the callee are part of the answer.
 */
#include "server.h"

#include "server_call.h"
#include "server_io.h"
#include "server_memory.h"
#include "server_registers.h"

#include <stdbool.h>

enum { EXIT_DONE = 0, EXIT_NO_LINE = 64, EXIT_LOST = 65 };

/* The emulator's plugin counts what runs between these two, and knows them by name. */
void server_begin(void);
void server_end(void);

__attribute__((noinline)) void server_begin(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) void server_end(void)
{
    __asm__ volatile("nop");
}

static void synchronise(void)
{
    __asm__ volatile("dsb\n\tisb" : : : "memory");
}

static void allow(const struct request *request)
{
    uint32_t i;

#if __ARM_ARCH >= 8
    MPU_MAIR0 = 0xffu; /* attribute 0: normal memory, write-back */
#endif
    for (i = 0; i < MOST_REGIONS; i++) {
        MPU_RNR = i;
        MPU_RBAR = i < request->region_count ? request->regions[i].base : 0;
        MPU_ATTRIBUTES = i < request->region_count ? request->regions[i].attributes : 0;
    }
    MPU_CTRL = request->region_count > 0 ? MPU_CTRL_ENABLE : 0;
    synchronise();
}

static void allow_everything(void)
{
    MPU_CTRL = 0;
    synchronise();
}

static bool is_open_to_host(uint32_t address, uint32_t size)
{
    return size == 0 || (address >= SERVER_OPEN_START && address <= SERVER_OPEN_END &&
                         size <= SERVER_OPEN_END - address);
}

static void start_cycle_counter(void)
{
    DEMCR |= DEMCR_TRACE;
    DWT_CYCCNT = 0;
    DWT_CTRL |= DWT_CTRL_COUNT_CYCLES;
}

static void measure(const struct request *request, struct answer *answer)
{
    uint32_t before;
    bool is_done;

    allow(request);
    server_begin();
    before = DWT_CYCCNT;
    is_done = server_call(request->entry, request->argument, request->timeout_ms, &answer->fault);
    answer->cycles = DWT_CYCCNT - before;
    server_end();
    allow_everything();
    answer->status = is_done ? STATUS_DONE : STATUS_FAULT;
}

/* Bytes for other places than those that are open to the host are read and dropped. */
static bool take_write(struct answer *answer)
{
    uint32_t place[2];
    uint8_t dropped;

    if (!server_read(place, sizeof place)) {
        return false;
    }
    if (is_open_to_host(place[0], place[1])) {
        return server_read((void *)(uintptr_t)place[0], place[1]);
    }
    answer->status = STATUS_REFUSED;
    for (; place[1] > 0; place[1]--) {
        if (!server_read(&dropped, 1)) {
            return false;
        }
    }
    return true;
}

static bool serve(const struct request *request)
{
    struct answer answer;
    uint32_t *word;
    uint32_t i;

    for (word = (uint32_t *)(void *)&answer; word < (uint32_t *)(void *)(&answer + 1); word++) {
        *word = 0; /* by hand: a library function would be counted */
    }
    answer.magic = ANSWER_MAGIC;
    for (i = 0; i < request->writes; i++) {
        if (!take_write(&answer)) {
            return false;
        }
    }
    if (!is_open_to_host(request->answer_address, request->answer_bytes) ||
        request->region_count > MOST_REGIONS) {
        answer.status = STATUS_REFUSED;
    }
    if (request->entry != 0 && answer.status == STATUS_DONE) {
        synchronise(); /* what was written may be code */
        measure(request, &answer);
    }
    if (!server_write(&answer, sizeof answer)) {
        return false;
    }
    return answer.status == STATUS_REFUSED ||
           server_write((const void *)(uintptr_t)request->answer_address, request->answer_bytes);
}

int main(void)
{
    static struct request request;

    if (!server_open()) {
        return EXIT_NO_LINE;
    }
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    FPCCR &= ~FPCCR_LAZY_STACKING; /* a fault's frame is given up as a whole */
#endif
    start_cycle_counter();
    while (server_read(&request, sizeof request)) {
        if (request.magic != REQUEST_MAGIC) {
            return EXIT_LOST;
        }
        if (!serve(&request)) {
            break;
        }
    }
    return EXIT_DONE;
}
