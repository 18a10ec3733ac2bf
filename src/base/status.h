/* Setting and wrapping errors: the inside of shoal/status.h. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "shoal/status.h"

#define NODISCARD __attribute__((warn_unused_result))

/* Writes the text (if error is not NULL) and returns code: `return error_set(error, SHOAL_IO, "…");` */
shoal_status error_set(struct shoal_error *error, shoal_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text already in error; returns error's code unchanged (or code if error is NULL). */
shoal_status error_wrap(struct shoal_error *error, shoal_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, with ": strerror(errno)"; maps ENOMEM, ENOSPC/EDQUOT and ENOENT to their own codes, others to IO. */
shoal_status error_errno(struct shoal_error *error, int saved_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define TRY(expression)                                                                            \
    do {                                                                                           \
        const shoal_status try_status_ = (expression);                                             \
        if (try_status_ != SHOAL_OK) {                                                             \
            return try_status_;                                                                    \
        }                                                                                          \
    } while (0)

#endif
