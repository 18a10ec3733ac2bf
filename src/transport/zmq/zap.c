#include "transport/zmq/zap.h"

#include "wire/fragment.h"

#include <string.h>

static bool is_frame(const struct zap_request *request, enum zap_frame frame, const char *text) {
    const size_t size = strlen(text);
    return request->sizes[frame] == size && memcmp(request->frames[frame], text, size) == 0;
}

const uint8_t *zap_key(const struct zap_request *request) {
    if (request->count != ZAP_FRAMES || !is_frame(request, ZAP_VERSION, "1.0") ||
        request->sizes[ZAP_REQUEST] > ZAP_FRAME_BYTES ||
        !is_frame(request, ZAP_MECHANISM, "CURVE") || request->sizes[ZAP_KEY] != ZAP_KEY_BYTES) {
        return NULL;
    }
    return request->frames[ZAP_KEY];
}

void zap_address(const struct zap_request *request, char *out, size_t capacity) {
    size_t size = request->count > ZAP_ADDRESS ? request->sizes[ZAP_ADDRESS] : 0;
    size = size < ZAP_FRAME_BYTES ? size : ZAP_FRAME_BYTES;
    wire_printable((const char *)request->frames[ZAP_ADDRESS], size, out, capacity);
}
