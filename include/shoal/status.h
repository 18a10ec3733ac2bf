/*
 * Status codes of every Shoal call, and the error text that goes with them.
 *
 * Functions return a shoal_status and leave their outputs unchanged unless it is SHOAL_OK. A caller
 * that wants to know more passes a struct shoal_error (NULL is allowed everywhere).
 */
#ifndef SHOAL_STATUS_H
#define SHOAL_STATUS_H

/* X(code, text, class): class says what is damaged and so who can mend it. */
#define SHOAL_STATUS_LIST(X)                        \
    X(OK, "ok", NONE)                               \
    X(INVALID, "invalid argument", CALLER)          \
    X(USAGE, "wrong usage", CALLER)                 \
    X(NOT_FOUND, "not found", CALLER)               \
    X(CORRUPT, "corrupt or malformed data", CALLER) \
    X(UNSUPPORTED, "not supported", CALLER)         \
    X(MISMATCH, "does not match", CALLER)           \
    X(INFEASIBLE, "no placement fits", CALLER)      \
    X(CANCELLED, "cancelled", CALLER)               \
    X(NO_MEMORY, "out of memory", RESOURCE)         \
    X(NO_SPACE, "no space left", RESOURCE)          \
    X(IO, "input/output error", RESOURCE)           \
    X(BUSY, "busy", RESOURCE)                       \
    X(TIMEOUT, "deadline exceeded", LINK)           \
    X(CLOSED, "closed", LINK)                       \
    X(PROTOCOL, "peer broke the protocol", PEER)    \
    X(VERSION, "format version differs", PEER)      \
    X(DENIED, "peer not allowed", PEER)             \
    X(PEER_LOST, "device lost", PEER)               \
    X(CLUSTER_LOST, "cluster lost", CLUSTER)        \
    X(INTERNAL, "internal error", BUG)

typedef enum shoal_status {
#define X(code, text, class) SHOAL_##code,
    SHOAL_STATUS_LIST(X)
#undef X
} shoal_status;

typedef enum shoal_status_class {
    SHOAL_CLASS_NONE,
    SHOAL_CLASS_CALLER,
    SHOAL_CLASS_RESOURCE,
    SHOAL_CLASS_LINK,
    SHOAL_CLASS_PEER,
    SHOAL_CLASS_CLUSTER,
    SHOAL_CLASS_BUG,
} shoal_status_class;

#define SHOAL_ERROR_TEXT 512

struct shoal_error {
    shoal_status code;
    char text[SHOAL_ERROR_TEXT]; /* names the file, device or item, and the way out where one is
                                    known */
};

const char *shoal_status_text(shoal_status status);
shoal_status_class shoal_status_classify(shoal_status status);

#endif
