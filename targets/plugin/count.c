/*
 * count: a QEMU plugin that counts executed blocks per owner.
 *
 * Arguments:
 *   ranges=FILE  lines "owner low high" (owner decimal, addresses hexadecimal, high exclusive).
 *                Owner 0 is the harness, 1 the run function, 2 and up the layers; -2 is a
 *                call-back of the harness, which may lie inside its range but stands before it.
 *   out=FILE     where the result goes
 *   follow=on    never stop: keep track of the owner until the emulator ends (for fault reports)
 *
 * A block that starts in a listed range makes that range's owner the current one; any other block
 * belongs to whoever is current, so a helper is paid for by its caller. Counting begins with the
 * first block of owner 1 and ends for good with the next block of owner 0: exactly one inference.
 * A call-back and all that it calls of the harness belong to nobody and end nothing.
 *
 * Result, one record a line:
 *   block INDEX ADDRESS SIZE INSTRUCTIONS       (address hexadecimal, size in bytes)
 *   count OWNER INDEX COUNT FALL_THROUGH
 *   state FINISHED OWNER ADDRESS                (last owner but the harness, its last block)
 * FALL_THROUGH says how often the next block executed began where this one ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instructions.h"

enum { OWNER_CALL_BACK = -2, OWNER_NONE = -1, OWNER_HARNESS = 0, OWNER_RUN = 1 };
enum { BUCKETS = 4096 };

struct tally {
    int owner;
    uint64_t count;
    uint64_t fall_through;
    struct tally *next;
};

struct block {
    uint32_t address;
    uint32_t size;
    uint32_t instructions;
    int range_owner;        /* owner of the range this block starts in, or OWNER_NONE */
    unsigned index;         /* order of first translation */
    struct tally *tallies;  /* most recently used owner first */
    struct block *chain;    /* next in the same hash bucket */
    struct block *older;    /* translated before this one */
};

struct range {
    int owner;
    uint32_t low;
    uint32_t high;
};

enum phase { WAITING, COUNTING, CALLED_BACK, FINISHED };

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API_VERSION;

static qemu_plugin_id_t plugin_id;
static struct block *buckets[BUCKETS];
static struct block *newest;
static unsigned block_total;
static struct range *ranges;
static size_t range_total;
static const char *output_path;
static bool follow;

static enum phase phase = WAITING;
static int owner = OWNER_NONE;       /* never OWNER_HARNESS: this is what a fault report names */
static uint32_t last_address;
static const struct block *previous; /* the block executed before this one */
static struct tally *previous_tally;

/* Make this owner's tally the first of the block's list, so that the common case is one test. */
static struct tally *tally_of(struct block *block)
{
    struct tally **link = &block->tallies;
    struct tally *tally = *link;

    if (tally != NULL && tally->owner == owner) {
        return tally;
    }
    while (*link != NULL && (*link)->owner != owner) {
        link = &(*link)->next;
    }
    tally = *link;
    if (tally == NULL) {
        tally = allocate(sizeof *tally);
        tally->owner = owner;
    } else {
        *link = tally->next;
    }
    tally->next = block->tallies;
    block->tallies = tally;
    return tally;
}

static void write_block(FILE *file, const struct block *block)
{
    const struct tally *tally;

    if (block->tallies == NULL) {
        return;
    }
    fprintf(file, "block %u %x %u %u\n", block->index, (unsigned)block->address,
            (unsigned)block->size, (unsigned)block->instructions);
    for (tally = block->tallies; tally != NULL; tally = tally->next) {
        fprintf(file, "count %d %u %llu %llu\n", tally->owner, block->index,
                (unsigned long long)tally->count, (unsigned long long)tally->fall_through);
    }
}

static void write_result(void)
{
    FILE *file = fopen(output_path, "w");
    const struct block *block;

    if (file == NULL) {
        perror(output_path);
        return;
    }
    for (block = newest; block != NULL; block = block->older) {
        write_block(file, block);
    }
    fprintf(file, "state %d %d %x\n", phase == FINISHED, owner, (unsigned)last_address);
    fclose(file);
}

static void after_reset(qemu_plugin_id_t id)
{
    (void)id; /* nothing is registered again: what follows runs at full speed */
}

static void finish(void)
{
    phase = FINISHED;
    write_result();
    qemu_plugin_reset(plugin_id, after_reset);
}

static void count_block(struct block *block)
{
    struct tally *tally = tally_of(block);

    if (previous != NULL && previous->address + previous->size == block->address) {
        previous_tally->fall_through++;
    }
    tally->count++;
    previous = block;
    previous_tally = tally;
}

static void enter_harness(void)
{
    if (phase == COUNTING && !follow) {
        finish();
    }
    previous = NULL;
}

static void on_block(unsigned int vcpu_index, void *userdata)
{
    struct block *block = userdata;

    (void)vcpu_index;
    if (phase == FINISHED) {
        return; /* the reset takes effect a little later */
    }
    if (block->range_owner == OWNER_CALL_BACK) {
        phase = phase == COUNTING ? CALLED_BACK : phase;
        previous = NULL;
        return;
    }
    if (block->range_owner == OWNER_HARNESS) {
        enter_harness();
        return;
    }
    if (phase == CALLED_BACK) {
        phase = COUNTING; /* back in the model */
    }
    if (phase == WAITING) {
        if (block->range_owner != OWNER_RUN) {
            return;
        }
        phase = COUNTING;
    }
    if (block->range_owner != OWNER_NONE) {
        owner = block->range_owner;
    }
    last_address = block->address;
    count_block(block);
}

static int range_owner(uint32_t address)
{
    size_t i;

    for (i = 0; i < range_total; i++) {
        if (address >= ranges[i].low && address < ranges[i].high) {
            return ranges[i].owner;
        }
    }
    return OWNER_NONE;
}

/* QEMU may translate a block again at any time; equal blocks share one record. */
static struct block *find_block(const struct qemu_plugin_tb *tb)
{
    uint32_t address = (uint32_t)qemu_plugin_tb_vaddr(tb);
    uint32_t size = block_size(tb, address);
    struct block **bucket = &buckets[(address >> 1) % BUCKETS];
    struct block *block;

    for (block = *bucket; block != NULL; block = block->chain) {
        if (block->address == address && block->size == size) {
            return block;
        }
    }
    block = allocate(sizeof *block);
    block->address = address;
    block->size = size;
    block->instructions = (uint32_t)qemu_plugin_tb_n_insns(tb);
    block->range_owner = range_owner(address);
    block->index = block_total++;
    block->chain = *bucket;
    block->older = newest;
    *bucket = block;
    newest = block;
    return block;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, find_block(tb));
}

static void on_emulator_exit(qemu_plugin_id_t id, void *userdata)
{
    (void)id;
    (void)userdata;
    write_result();
}

static bool read_ranges(const char *path)
{
    FILE *file = fopen(path, "r");
    unsigned low, high;
    int range_of;

    if (file == NULL) {
        perror(path);
        return false;
    }
    while (fscanf(file, "%d %x %x", &range_of, &low, &high) == 3) {
        ranges = realloc(ranges, (range_total + 1) * sizeof *ranges);
        if (ranges == NULL) {
            return false;
        }
        ranges[range_total++] = (struct range){range_of, low, high};
    }
    fclose(file);
    return true;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                               char **argv)
{
    const char *ranges_path = NULL;
    int i;

    (void)info;
    for (i = 0; i < argc; i++) {
        if (strncmp(argv[i], "ranges=", 7) == 0) {
            ranges_path = argv[i] + 7;
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            output_path = strdup(argv[i] + 4);
        } else if (strcmp(argv[i], "follow=on") == 0) {
            follow = true;
        } else {
            fprintf(stderr, "count plugin: unknown argument %s\n", argv[i]);
            return 1;
        }
    }
    if (ranges_path == NULL || output_path == NULL || !read_ranges(ranges_path)) {
        fputs("count plugin: ranges= and out= are needed\n", stderr);
        return 1;
    }
    plugin_id = id;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_emulator_exit, NULL);
    return 0;
}
