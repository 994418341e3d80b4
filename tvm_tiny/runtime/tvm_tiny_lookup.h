/* Functions of one int8 value, as tables. */
#ifndef TVM_TINY_LOOKUP_H
#define TVM_TINY_LOOKUP_H

#include <stdint.h>

/* y[i] = table[x[i]], x[i] read as an unsigned byte. */
void tiny_lookup(const int8_t *x, int32_t count, const int8_t *table, int8_t *y);

#endif /* TVM_TINY_LOOKUP_H */
