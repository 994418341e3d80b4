/* The files that the measuring harness needs, on a board or on the host. */
#ifndef HARNESS_IO_H
#define HARNESS_IO_H

#include <stddef.h>
#include <stdint.h>

/* A handle, or -1. */
int32_t harness_open_input(const char *name);
int32_t harness_open_output(const char *name);

/* Bytes transferred. */
size_t harness_read(int32_t file, void *buffer, size_t size);
size_t harness_write(int32_t file, const void *buffer, size_t size);

/* Bytes of a file, and where to go on reading. */
size_t harness_length(int32_t file);
void harness_seek(int32_t file, size_t position);

void harness_close(int32_t file);

#endif
