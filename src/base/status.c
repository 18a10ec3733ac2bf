#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *shoal_status_text(shoal_status status) {
    static const char *const texts[] = {
#define X(code, text, class) [SHOAL_##code] = (text),
        SHOAL_STATUS_LIST(X)
#undef X
    };
    const size_t index = (size_t)status;
    return index < sizeof texts / sizeof texts[0] ? texts[index] : "unknown status";
}

shoal_status_class shoal_status_classify(shoal_status status) {
    static const shoal_status_class classes[] = {
#define X(code, text, class) [SHOAL_##code] = SHOAL_CLASS_##class,
        SHOAL_STATUS_LIST(X)
#undef X
    };
    const size_t index = (size_t)status;
    return index < sizeof classes / sizeof classes[0] ? classes[index] : SHOAL_CLASS_BUG;
}

shoal_status error_set_text(struct shoal_error *error, shoal_status code, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->code = code;
        (void)vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return code;
}

/* ": text" at offset used, cut where the room ends. */
static void append(struct shoal_error *error, size_t used, const char *text) {
    const size_t room = sizeof error->text - used - 1;
    size_t length = 0;
    for (const char *p = ": "; *p != '\0' && length < room; p++) {
        error->text[used + length++] = *p;
    }
    for (const char *p = text; *p != '\0' && length < room; p++) {
        error->text[used + length++] = *p;
    }
    error->text[used + length] = '\0';
}

shoal_status error_wrap_text(struct shoal_error *error, shoal_status code, const char *format,
                             ...) {
    if (error != NULL) {
        char inner[SHOAL_ERROR_TEXT];
        (void)snprintf(inner, sizeof inner, "%s", error->text);
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
        if (length < 0) {
            length = 0;
        }
        const size_t used =
            (size_t)length < sizeof error->text ? (size_t)length : sizeof error->text - 1;
        append(error, used, inner);
        error->code = code;
    }
    return code;
}

static shoal_status status_of_errno(int code) {
    switch (code) {
    case ENOMEM:
        return SHOAL_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
        return SHOAL_NO_SPACE;
    case ENOENT:
        return SHOAL_NOT_FOUND;
    default:
        return SHOAL_IO;
    }
}

shoal_status error_errno_text(struct shoal_error *error, int saved_errno, const char *format, ...) {
    const shoal_status code = status_of_errno(saved_errno);
    if (error != NULL) {
        char reason[128];
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
        if (length < 0) {
            length = 0;
        }
        const size_t used =
            (size_t)length < sizeof error->text ? (size_t)length : sizeof error->text - 1;
        append(error, used, strerror_r(saved_errno, reason, sizeof reason));
        error->code = code;
    }
    return code;
}
