/* The line to the host. */
#ifndef SERVER_IO_H
#define SERVER_IO_H

#include <stdbool.h>
#include <stddef.h>

/* All return false when the line has ended. */
bool server_open(void);
bool server_read(void *buffer, size_t size);
bool server_write(const void *buffer, size_t size);

#endif
