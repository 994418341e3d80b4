#include "harness_io.h"
#include "semihosting.h"

int32_t harness_open_input(const char *name)
{
    return semihosting_open(name, SEMIHOSTING_READ);
}

int32_t harness_open_output(const char *name)
{
    return semihosting_open(name, SEMIHOSTING_WRITE);
}

size_t harness_read(int32_t file, void *buffer, size_t size)
{
    return semihosting_read(file, buffer, size);
}

size_t harness_write(int32_t file, const void *buffer, size_t size)
{
    return semihosting_write(file, buffer, size);
}

size_t harness_length(int32_t file)
{
    return semihosting_length(file);
}

void harness_seek(int32_t file, size_t position)
{
    semihosting_seek(file, position);
}

void harness_close(int32_t file)
{
    semihosting_close(file);
}
