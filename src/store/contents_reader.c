/* Reading what is still arriving. */
#include "store/contents_internal.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct contents_reader {
    int fd; /* of the writer's open file */
};

shoal_status contents_reader_open(const struct contents_writer *writer,
                                  struct contents_reader **out, struct shoal_error *error) {
    struct contents_reader *reader = mem_calloc(1, sizeof *reader);
    if (reader == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", writer->contents->directory);
    }
    reader->fd = fcntl(writer->fd, F_DUPFD_CLOEXEC, 0);
    if (reader->fd < 0) {
        const int saved = errno;
        mem_free(reader);
        return error_errno(error, saved, "cache %s: partial %s", writer->contents->directory,
                           writer->key);
    }
    *out = reader;
    return SHOAL_OK;
}

shoal_status contents_reader_read(const struct contents_reader *reader, uint64_t offset, void *out,
                                  size_t size, size_t *got, struct shoal_error *error) {
    size_t filled = 0;
    while (filled < size) {
        const ssize_t done =
            pread(reader->fd, (char *)out + filled, size - filled, (off_t)(offset + filled));
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return error_errno(error, errno, "a content that is arriving cannot be read");
        }
        if (done == 0) {
            break;
        }
        filled += (size_t)done;
    }
    *got = filled;
    return SHOAL_OK;
}

void contents_reader_close(struct contents_reader *reader) {
    if (reader != NULL) {
        (void)close(reader->fd);
        mem_free(reader);
    }
}
