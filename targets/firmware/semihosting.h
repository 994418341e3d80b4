/* Files and exit of the host that runs or debugs this board (Arm semihosting). */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum semihosting_mode { SEMIHOSTING_READ = 1 /* "rb" */, SEMIHOSTING_WRITE = 5 /* "wb" */ };

/* A handle, or -1. */
int32_t semihosting_open(const char *name, enum semihosting_mode mode);

/* Bytes read or written. */
size_t semihosting_read(int32_t file, void *buffer, size_t size);
size_t semihosting_write(int32_t file, const void *buffer, size_t size);

/* Bytes of the file, and where to go on reading. */
size_t semihosting_length(int32_t file);
void semihosting_seek(int32_t file, size_t position);

void semihosting_close(int32_t file);

/* Ends the program with this code as the host's exit status. */
void semihosting_exit(int32_t code) __attribute__((noreturn));

#endif
