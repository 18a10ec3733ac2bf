/*
 * Replays a fuzz corpus as an ordinary test: every file of the named files and directories goes
 * through LLVMFuzzerTestOneInput. It fails if there was nothing to replay, or by crashing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    uint8_t *data = NULL;
    size_t size = 0, capacity = 0, got;
    do {
        if (size == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 65536;
            uint8_t *larger = realloc(data, capacity);
            if (larger == NULL) {
                abort();
            }
            data = larger;
        }
        got = fread(data + size, 1, capacity - size, file);
        size += got;
    } while (got > 0);
    (void)fclose(file);
    /* An exact-size copy, so that a sanitizer sees reads past the end. */
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL) {
        abort();
    }
    for (size_t i = 0; i < size; i++) {
        exact[i] = data[i];
    }
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    free(data);
    return 1;
}

static int replay(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) {
        perror(path);
        return -1;
    }
    if (!S_ISDIR(status.st_mode)) {
        return replay_file(path);
    }
    DIR *directory = opendir(path);
    if (directory == NULL) {
        perror(path);
        return -1;
    }
    int total = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char child[4096];
        (void)snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        const int count = replay(child);
        if (count < 0) {
            total = -1;
            break;
        }
        total += count;
    }
    (void)closedir(directory);
    return total;
}

int main(int argc, char **argv) {
    int total = 0;
    for (int i = 1; i < argc; i++) {
        const int count = replay(argv[i]);
        if (count < 0) {
            return 1;
        }
        total += count;
    }
    printf("%d inputs replayed\n", total);
    return total > 0 ? 0 : 1;
}
