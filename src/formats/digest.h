/* Incremental SHA-256, as lower-case hexadecimal text (libsodium). Not thread-safe per object. */
#ifndef FORMATS_DIGEST_H
#define FORMATS_DIGEST_H

#include <sodium/crypto_hash_sha256.h>
#include <stddef.h>

#define DIGEST_TEXT 65 /* 64 digits and a zero */

struct digest {
    crypto_hash_sha256_state state;
};

void digest_init(struct digest *digest);
void digest_update(struct digest *digest, const void *bytes, size_t size);
/* Ends the digest; init it again before any further use. */
void digest_final(struct digest *digest, char text[DIGEST_TEXT]);

#endif
