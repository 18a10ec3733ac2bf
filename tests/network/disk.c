#include "disk.h"

#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int disk_open(size_t bytes) {
    char size[32];
    (void)snprintf(size, sizeof size, "%zu", bytes);
    const int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (context < 0) {
        return -1;
    }
    int disk = -1;
    if (fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        disk = fsmount(context, 0, 0);
    }
    (void)close(context);
    return disk;
}

const char *disk_path(int disk) {
    static char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", disk);
    return path;
}
