#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A plain decimal number: strtod alone would also take "nan", "0x1p3", signs and leading blanks. */
static bool number(const char *text, double *out, const char **rest) {
    char *end;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    const size_t digits = strspn(text, "0123456789.");
    if (text[digits] == 'x' || text[digits] == 'X') {
        return false;
    }
    errno = 0;
    *out = strtod(text, &end);
    *rest = end;
    return errno == 0 && end != text;
}

bool units_parse_size(const char *text, size_t *out) {
    static const char units[] = "KMGT";
    double value;
    const char *end;
    if (!number(text, &value, &end)) {
        return false;
    }
    const char *unit = *end != '\0' ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit != NULL) {
        for (const char *u = units; u <= unit; u++) {
            value *= 1024;
        }
        end++;
        end += *end == 'i' ? 1 : 0;
        end += *end == 'B' ? 1 : 0;
    }
    if (*end != '\0' || value > 0x1p62) {
        return false;
    }
    *out = (size_t)value;
    return true;
}

struct unit {
    const char *name;
    double factor;
};

static bool with_unit(const char *text, const struct unit *units, double *out) {
    const char *rest;
    double value;
    if (!number(text, &value, &rest)) {
        return false;
    }
    while (units->name != NULL && strcmp(units->name, rest) != 0) {
        units++;
    }
    *out = value * units->factor;
    return units->name != NULL;
}

bool units_parse_rate(const char *text, double *bytes_per_s) {
    static const struct unit units[] = {{"bit", 1},      {"kbit", 1e3},   {"Mbit", 1e6},
                                        {"Gbit", 1e9},   {"bit/s", 1},    {"kbit/s", 1e3},
                                        {"Mbit/s", 1e6}, {"Gbit/s", 1e9}, {NULL, 0}};
    double bits;
    if (!with_unit(text, units, &bits) || !(bits >= 8 && bits <= 1e13)) {
        return false;
    }
    *bytes_per_s = bits / 8;
    return true;
}

bool units_parse_time(const char *text, double *seconds) {
    static const struct unit units[] = {
        {"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"µs", 1e-6}, {NULL, 0}};
    double value;
    if (!with_unit(text, units, &value) || !(value >= 0 && value <= 3600)) {
        return false;
    }
    *seconds = value;
    return true;
}
