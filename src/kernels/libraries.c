#include "kernels/registry.h"

#include <cblas.h>
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static char text[128];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void write_text(void) {
    const dnnl_version_t *onednn = dnnl_version();
    const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 DYNAMIC_ARCH …" */
    const char *version = strchr(config, ' ') != NULL ? strchr(config, ' ') + 1 : config;
    (void)snprintf(text, sizeof text, "onednn %d.%d.%d, openblas %.*s", onednn->major,
                   onednn->minor, onednn->patch, (int)strcspn(version, " "), version);
}

const char *kernel_libraries(void) {
    (void)pthread_once(&once, write_text);
    return text;
}
