/* Setting and wrapping errors: the inside of shoal/status.h. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "shoal/status.h"

#define NODISCARD __attribute__((warn_unused_result))

/*
 * The three ways to fail. They are macros around functions so that a compiler and an analyser see
 * in the caller that the result is never SHOAL_OK. code is evaluated twice.
 *
 * error_set(error, code, format, ...): writes the text (if error is not NULL) and is code:
 *     return error_set(error, SHOAL_IO, "%s: cannot be read", path);
 * error_wrap(error, code, format, ...): puts "context: " before the text already in error; is code.
 * error_errno(error, saved_errno, format, ...): as error_set, with ": strerror"; ENOMEM, ENOSPC or
 * EDQUOT, and ENOENT have codes of their own, others are SHOAL_IO.
 */
#define error_set(error, code, ...) error_is((code), error_set_text((error), (code), __VA_ARGS__))
#define error_wrap(error, code, ...) error_is((code), error_wrap_text((error), (code), __VA_ARGS__))
#define error_errno(error, saved_errno, ...) \
    error_failed(error_errno_text((error), (saved_errno), __VA_ARGS__))

shoal_status error_set_text(struct shoal_error *error, shoal_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
shoal_status error_wrap_text(struct shoal_error *error, shoal_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
shoal_status error_errno_text(struct shoal_error *error, int saved_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline shoal_status error_is(shoal_status code, shoal_status same) {
    (void)same;
    return code;
}

static inline shoal_status error_failed(shoal_status status) {
    if (status == SHOAL_OK) {
        __builtin_unreachable(); /* no errno maps to it */
    }
    return status;
}

#define TRY(expression)                                \
    do {                                               \
        const shoal_status try_status_ = (expression); \
        if (try_status_ != SHOAL_OK) {                 \
            return try_status_;                        \
        }                                              \
    } while (0)

#endif
