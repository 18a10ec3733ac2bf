#include "transport/transport.h"

const char *transport_lost_name(enum transport_lost reason) {
    switch (reason) {
#define X(code, name)           \
    case TRANSPORT_LOST_##code: \
        return name;
        TRANSPORT_LOST_LIST(X)
#undef X
    default:
        return "unknown";
    }
}
