#include "formats/digest.h"

void digest_init(struct digest *digest) {
    (void)crypto_hash_sha256_init(&digest->state); /* these three always return 0 */
}

void digest_update(struct digest *digest, const void *bytes, size_t size) {
    if (size > 0) {
        (void)crypto_hash_sha256_update(&digest->state, bytes, size);
    }
}

void digest_final(struct digest *digest, char text[DIGEST_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256_final(&digest->state, hash);
    for (size_t i = 0; i < sizeof hash; i++) {
        text[2 * i] = digits[hash[i] >> 4];
        text[2 * i + 1] = digits[hash[i] & 15];
    }
    text[2 * sizeof hash] = '\0';
}
