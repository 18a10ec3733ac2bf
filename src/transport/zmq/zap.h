/*
 * Requests to the authentication handler (https://rfc.zeromq.org/spec/27/), as far as they are
 * looked at here. Pure: libzmq makes the request, but the address and the key in it are a
 * stranger's.
 */
#ifndef TRANSPORT_ZMQ_ZAP_H
#define TRANSPORT_ZMQ_ZAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZAP_FRAME_BYTES 256
#define ZAP_KEY_BYTES 32

enum zap_frame {
    ZAP_VERSION,
    ZAP_REQUEST,
    ZAP_DOMAIN,
    ZAP_ADDRESS,
    ZAP_ROUTING,
    ZAP_MECHANISM,
    ZAP_KEY,
    ZAP_FRAMES
};

struct zap_request {
    uint8_t frames[ZAP_FRAMES][ZAP_FRAME_BYTES];
    size_t sizes[ZAP_FRAMES]; /* as they came; what is beyond ZAP_FRAME_BYTES is not kept */
    size_t count;             /* as many as came; beyond ZAP_FRAMES none is kept */
};

/* The public key that the caller has proved to own; NULL: this is no sound CURVE request. */
const uint8_t *zap_key(const struct zap_request *request);

/* Where it calls from, printable. */
void zap_address(const struct zap_request *request, char *out, size_t capacity);

#endif
