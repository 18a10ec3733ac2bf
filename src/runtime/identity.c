#include "runtime/identity.h"

#include "transport/transport.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define KEY_LENGTH 40

static_assert(TRANSPORT_LISTED_BYTES == 54, "the text below says it");

/* Of ZeroMQ's RFC 32. */
static const char z85_digits[] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

bool identity_is_placeholder(const char *text) {
    const size_t length = strlen(text);
    return length == 0 || strcmp(text, "...") == 0 || strstr(text, "…") != NULL ||
           (text[0] == '<' && text[length - 1] == '>' && length != KEY_LENGTH);
}

const char *identity_name_problem(const char *text) {
    if (identity_is_placeholder(text)) {
        return "is no name";
    }
    if (strlen(text) > TRANSPORT_LISTED_BYTES) {
        return "has more than 54 bytes";
    }
    if (strcmp(text, "*") == 0) {
        return "means any device";
    }
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p == '#') {
            return "contains '#', which marks several commands of one client";
        }
        if (*p <= ' ' || *p == 0x7F || (*p == 0xC2 && p[1] >= 0x80 && p[1] <= 0xA0)) {
            return "contains a blank or a control character";
        }
    }
    return NULL;
}

const char *identity_key_problem(const char *text) {
    if (identity_is_placeholder(text)) {
        return "is a placeholder; run 'shoal key' on that machine and write what it shows";
    }
    if (strlen(text) != KEY_LENGTH || strspn(text, z85_digits) != KEY_LENGTH) {
        return "is no public key (40 characters of z85); run 'shoal key' on that machine and write "
               "what it shows, in double quotes";
    }
    for (size_t group = 0; group < KEY_LENGTH; group += 5) {
        uint64_t value = 0;
        for (size_t i = 0; i < 5; i++) {
            value = value * 85 + (uint64_t)(strchr(z85_digits, text[group + i]) - z85_digits);
        }
        if (value > UINT32_MAX) {
            return "is no public key: a character was mistyped; copy it from 'shoal key'";
        }
    }
    return NULL;
}
