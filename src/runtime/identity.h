/* What names and public keys of devices and clients look like: the one place that decides. */
#ifndef RUNTIME_IDENTITY_H
#define RUNTIME_IDENTITY_H

#include <stdbool.h>

/*
 * NULL if text may name a device or client; otherwise what is wrong with it, for "NAME: …": 1 to 54
 * bytes of UTF-8 without blanks, control characters and '#' (which marks several sessions of one
 * client); "*" means any device.
 */
const char *identity_name_problem(const char *text);

/* NULL if text is a CURVE public key as z85; otherwise what is wrong with it and where to get one.
 */
const char *identity_key_problem(const char *text);

/* A placeholder that somebody forgot to fill in: "…", "...", "<…>" or nothing. */
bool identity_is_placeholder(const char *text);

#endif
