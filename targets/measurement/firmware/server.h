/* What a host and the measurement server say to each other; all numbers are little-endian words. */
#ifndef SERVER_H
#define SERVER_H

#include "fault.h"

#include <stdint.h>

#define REQUEST_MAGIC 0x54545131u /* "1QTT" */
#define ANSWER_MAGIC 0x54544131u  /* "1ATT" */

enum { MOST_REGIONS = 8 };

enum status { STATUS_DONE = 0, STATUS_FAULT = 1, STATUS_REFUSED = 2 };

struct region {
    uint32_t base;
    uint32_t attributes;
};

/*
 * `writes` pairs of an address and a size follow, each with its bytes. Then `entry` is called with
 * `argument`, unless it is 0, while the memory protection unit allows what `regions` say and no
 * more. The answer ends with `answer_bytes` bytes from `answer_address`.
 */
struct request {
    uint32_t magic;
    uint32_t writes;
    uint32_t entry;
    uint32_t argument;
    uint32_t answer_address;
    uint32_t answer_bytes;
    uint32_t timeout_ms; /* 0: no limit but the host's */
    uint32_t region_count;
    struct region regions[MOST_REGIONS];
};

struct answer {
    uint32_t magic;
    uint32_t status;
    uint32_t cycles; /* of the core's own counter, 0 where it has none */
    struct fault_report fault;
};

#endif
