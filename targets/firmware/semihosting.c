#include "semihosting.h"

enum operation {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0a,
    SYS_FLEN = 0x0c,
    SYS_EXIT_EXTENDED = 0x20
};

#define ADP_STOPPED_APPLICATION_EXIT 0x20026u

static int32_t call_host(enum operation operation, const uint32_t *arguments)
{
    register int32_t r0 __asm__("r0") = (int32_t)operation;
    register const uint32_t *r1 __asm__("r1") = arguments;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t length_of(const char *text)
{
    uint32_t length = 0;

    while (text[length] != '\0') {
        length++;
    }
    return length;
}

int32_t semihosting_open(const char *name, enum semihosting_mode mode)
{
    const uint32_t arguments[] = {(uint32_t)(uintptr_t)name, (uint32_t)mode, length_of(name)};

    return call_host(SYS_OPEN, arguments);
}

size_t semihosting_read(int32_t file, void *buffer, size_t size)
{
    const uint32_t arguments[] = {(uint32_t)file, (uint32_t)(uintptr_t)buffer, (uint32_t)size};

    /* the host answers with the number of bytes that it did not transfer */
    return size - (size_t)call_host(SYS_READ, arguments);
}

size_t semihosting_write(int32_t file, const void *buffer, size_t size)
{
    const uint32_t arguments[] = {(uint32_t)file, (uint32_t)(uintptr_t)buffer, (uint32_t)size};

    return size - (size_t)call_host(SYS_WRITE, arguments);
}

size_t semihosting_length(int32_t file)
{
    const uint32_t arguments[] = {(uint32_t)file};

    return (size_t)call_host(SYS_FLEN, arguments);
}

void semihosting_seek(int32_t file, size_t position)
{
    const uint32_t arguments[] = {(uint32_t)file, (uint32_t)position};

    (void)call_host(SYS_SEEK, arguments);
}

void semihosting_close(int32_t file)
{
    const uint32_t arguments[] = {(uint32_t)file};

    (void)call_host(SYS_CLOSE, arguments);
}

void semihosting_exit(int32_t code)
{
    const uint32_t arguments[] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)code};

    for (;;) {
        (void)call_host(SYS_EXIT_EXTENDED, arguments);
    }
}
