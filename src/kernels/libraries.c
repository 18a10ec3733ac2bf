#include "kernels/registry.h"

#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#if SHOAL_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

static char text[128];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void write_text(void) {
    const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 DYNAMIC_ARCH …" */
    const char *version = strchr(config, ' ') != NULL ? strchr(config, ' ') + 1 : config;
    char onednn[32] = "";
#if SHOAL_ONEDNN
    const dnnl_version_t *numbers = dnnl_version();
    (void)snprintf(onednn, sizeof onednn, "onednn %d.%d.%d, ", numbers->major, numbers->minor,
                   numbers->patch);
#endif
    (void)snprintf(text, sizeof text, "%sopenblas %.*s", onednn, (int)strcspn(version, " "),
                   version);
}

const char *kernel_libraries(void) {
    (void)pthread_once(&once, write_text);
    return text;
}
