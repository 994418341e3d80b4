#include "harness_io.h"

#include <stdio.h>

enum { MAX_FILES = 4 };

static FILE *files[MAX_FILES];

static int32_t open_file(const char *name, const char *mode)
{
    int32_t handle = 0;

    while (handle < MAX_FILES && files[handle] != NULL) {
        handle++;
    }
    if (handle == MAX_FILES) {
        return -1;
    }
    files[handle] = fopen(name, mode);
    return files[handle] != NULL ? handle : -1;
}

int32_t harness_open_input(const char *name)
{
    return open_file(name, "rb");
}

int32_t harness_open_output(const char *name)
{
    return open_file(name, "wb");
}

size_t harness_read(int32_t file, void *buffer, size_t size)
{
    return fread(buffer, 1, size, files[file]);
}

size_t harness_write(int32_t file, const void *buffer, size_t size)
{
    return fwrite(buffer, 1, size, files[file]);
}

size_t harness_length(int32_t file)
{
    const long position = ftell(files[file]);
    long length;

    (void)fseek(files[file], 0, SEEK_END);
    length = ftell(files[file]);
    (void)fseek(files[file], position, SEEK_SET);
    return (size_t)length;
}

void harness_seek(int32_t file, size_t position)
{
    (void)fseek(files[file], (long)position, SEEK_SET);
}

void harness_close(int32_t file)
{
    fclose(files[file]);
    files[file] = NULL;
}
