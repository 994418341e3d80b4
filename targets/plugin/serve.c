/*
 * serve: a QEMU plugin that counts what each request makes the measurement server run.
 *
 * Arguments:
 *   server=LOW:HIGH  the server's own code, which is not counted (hexadecimal, HIGH exclusive)
 *   begin=ADDRESS    where a block of the server starts that precedes a subject
 *   end=ADDRESS      the same for one that follows it: the counts so far are written
 *   limit=N          a subject that executes more instructions ends the emulator
 *   out=FILE         where counts go, such as a pipe
 *
 * What is written for each subject, in the host's byte order: struct head, then its records.
 * Blocks are those of the last translation: code that was loaded over other code is another block.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "instructions.h"

enum { BUCKETS = 1 << 14 };

struct record {
    uint32_t address;
    uint32_t size;
    uint32_t instructions;
    uint32_t unused;
    uint64_t count;
    uint64_t fall_through; /* how often the next block executed began where this one ends */
};

struct head {
    uint32_t records;
    uint32_t is_over_limit;
    uint64_t instructions;
};

struct block {
    struct record record;
    bool is_begin;
    bool is_end;
    bool is_server;
    struct block *chain;   /* next in the same hash bucket */
    struct block *touched; /* executed before this one, for the first time since the last head */
};

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API_VERSION;

static struct block *buckets[BUCKETS];
static struct block *newest_touched;
static struct block *previous; /* the block executed before this one */
static struct record *buffer;
static size_t buffer_records;
static uint64_t executed;
static int output;

static unsigned server_low, server_high, begin_address, end_address;
static unsigned long long limit;

static void write_all(const void *data, size_t size)
{
    const char *position = data;

    while (size > 0) {
        const ssize_t put = write(output, position, size);

        if (put <= 0) {
            _exit(EXIT_FAILURE); /* nobody listens */
        }
        position += put;
        size -= (size_t)put;
    }
}

static size_t touched_total(void)
{
    const struct block *block;
    size_t total = 0;

    for (block = newest_touched; block != NULL; block = block->touched) {
        total++;
    }
    return total;
}

static void forget(void)
{
    struct block *block = newest_touched;

    while (block != NULL) {
        struct block *next = block->touched;

        block->record.count = 0;
        block->record.fall_through = 0;
        block = next;
    }
    newest_touched = NULL;
    previous = NULL;
    executed = 0;
}

static void write_counts(bool is_over_limit)
{
    const size_t total = touched_total();
    const struct head head = {(uint32_t)total, is_over_limit, executed};
    const struct block *block;
    struct record *record;

    if (total > buffer_records) {
        free(buffer);
        buffer_records = 2 * total;
        buffer = allocate(buffer_records * sizeof *buffer);
    }
    record = buffer;
    for (block = newest_touched; block != NULL; block = block->touched) {
        *record++ = block->record;
    }
    write_all(&head, sizeof head);
    write_all(buffer, total * sizeof *buffer);
}

/* Between begin and end it is an interrupt, such as the clock's, after which the subject goes on. */
static void in_server(const struct block *block)
{
    if (block->is_end) {
        write_counts(false);
    }
    if (block->is_end || block->is_begin) {
        forget();
    }
}

static void on_block(unsigned int vcpu_index, void *userdata)
{
    struct block *block = userdata;

    (void)vcpu_index;
    if (block->is_server) {
        in_server(block);
        return;
    }
    if (block->record.count++ == 0) {
        block->touched = newest_touched;
        newest_touched = block;
    }
    if (previous != NULL &&
        previous->record.address + previous->record.size == block->record.address) {
        previous->record.fall_through++;
    }
    previous = block;
    executed += block->record.instructions;
    if (executed > limit) {
        write_counts(true);
        _exit(EXIT_SUCCESS);
    }
}

static struct block *new_block(uint32_t address, uint32_t size, uint32_t instructions)
{
    struct block *block = allocate(sizeof *block);

    block->record.address = address;
    block->record.size = size;
    block->record.instructions = instructions;
    block->is_begin = address == begin_address;
    block->is_end = address == end_address;
    block->is_server = address >= server_low && address < server_high;
    return block;
}

/* QEMU may translate a block again at any time; equal blocks share one record. */
static struct block *find_block(const struct qemu_plugin_tb *tb)
{
    const uint32_t address = (uint32_t)qemu_plugin_tb_vaddr(tb);
    const uint32_t size = block_size(tb, address);
    const uint32_t instructions = (uint32_t)qemu_plugin_tb_n_insns(tb);
    struct block **bucket = &buckets[(address >> 1) % BUCKETS];
    struct block *block;

    for (block = *bucket; block != NULL; block = block->chain) {
        if (block->record.address == address && block->record.size == size &&
            block->record.instructions == instructions) {
            return block;
        }
    }
    block = new_block(address, size, instructions);
    block->chain = *bucket;
    *bucket = block;
    return block;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, find_block(tb));
}

static bool read_argument(const char *argument)
{
    if (strncmp(argument, "out=", 4) == 0) {
        output = open(argument + 4, O_WRONLY);
        return output >= 0;
    }
    return sscanf(argument, "server=%x:%x", &server_low, &server_high) == 2 ||
           sscanf(argument, "begin=%x", &begin_address) == 1 ||
           sscanf(argument, "end=%x", &end_address) == 1 ||
           sscanf(argument, "limit=%llu", &limit) == 1;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                               char **argv)
{
    int i;

    (void)info;
    for (i = 0; i < argc; i++) {
        if (!read_argument(argv[i])) {
            fprintf(stderr, "serve plugin: bad argument %s\n", argv[i]);
            return 1;
        }
    }
    if (output == 0 || server_high == 0 || limit == 0) {
        fputs("serve plugin: all arguments are needed\n", stderr);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
