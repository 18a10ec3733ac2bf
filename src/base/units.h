/* Quantities as people write them: sizes, rates, times. Nothing else may stand in the text. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes: "512M", "1.5G", "2GiB", "100000"; K, M, G, T are powers of 1024; below 2^62. */
bool units_parse_size(const char *text, size_t *out);

/* Bytes per second: "80Mbit", "1Gbit", "1.5kbit/s"; powers of 1000, as of networks; 8 bit/s to
 * 10 Tbit/s. */
bool units_parse_rate(const char *text, double *bytes_per_s);

/* Seconds: "3ms", "200us", "1.5s"; at most one hour. */
bool units_parse_time(const char *text, double *seconds);

#endif
