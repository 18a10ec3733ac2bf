#include "base/base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_length(size_t size) {
    return size / 3 * 4 + (size % 3 > 0 ? 4 : 0);
}

void base64_encode(const void *bytes, size_t size, char *text) {
    const unsigned char *from = bytes;
    for (size_t at = 0; at < size; at += 3) {
        const size_t count = size - at < 3 ? size - at : 3;
        uint32_t group = 0;
        for (size_t i = 0; i < 3; i++) {
            group = group << 8 | (i < count ? from[at + i] : 0U);
        }
        for (size_t i = 0; i < 4; i++) {
            *text++ = i <= count ? alphabet[group >> (18 - 6 * i) & 63U] : '=';
        }
    }
    *text = '\0';
}

/* 64: no character of the alphabet */
static uint32_t digit(char c) {
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)(c - 'a') + 26;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)(c - '0') + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool base64_decode(const char *text, size_t length, void *out, size_t size) {
    unsigned char *to = out;
    if (size > SIZE_MAX / 2 || length != base64_length(size)) {
        return false;
    }
    for (size_t at = 0; at < size; at += 3, text += 4) {
        const size_t count = size - at < 3 ? size - at : 3;
        uint32_t group = 0;
        for (size_t i = 0; i < 4; i++) {
            const uint32_t bits = i <= count ? digit(text[i]) : text[i] == '=' ? 0 : 64;
            if (bits > 63) {
                return false;
            }
            group = group << 6 | bits;
        }
        if ((group & (UINT32_C(0xffffff) >> (8 * count))) != 0 && count < 3) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            *to++ = (unsigned char)(group >> (16 - 8 * i) & 255U);
        }
    }
    return true;
}
