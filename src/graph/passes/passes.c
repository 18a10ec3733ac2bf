#include "graph/passes/passes.h"

#include "graph/passes/pass.h"

#include <string.h>

/* Every round fuses or moves something; this many are more than any model needs. */
#define MOST_ROUNDS 64

static const struct {
    const char *name;
    shoal_status (*run)(struct rewrite *rw, const struct pass_options *options,
                        struct shoal_error *error);
} passes[] = {
#define X(code, name, function, what) [PASS_##code] = {(name), function},
    PASS_LIST(X)
#undef X
};
_Static_assert(PASS_COUNT <= 32, "a bit for every pass");

#define X(code, name, function, what) ", " name
static const char all_names[] = PASS_LIST(X);
#undef X

const char *pass_name(enum pass pass) {
    return passes[pass].name;
}

static bool add_name(const char *name, size_t length, uint32_t *set) {
    if (length == 3 && strncmp(name, "all", 3) == 0) {
        *set = PASS_ALL;
        return true;
    }
    for (int i = 0; i < PASS_COUNT; i++) {
        if (strlen(passes[i].name) == length && strncmp(passes[i].name, name, length) == 0) {
            *set |= 1U << i;
            return true;
        }
    }
    return false;
}

shoal_status pass_parse(const char *names, uint32_t *set, struct shoal_error *error) {
    uint32_t found = *set;
    while (*names != '\0') {
        const size_t length = strcspn(names, ",");
        if (!add_name(names, length, &found)) {
            return error_set(error, SHOAL_INVALID, "no pass is called %.*s; there are all%s",
                             (int)length, names, all_names);
        }
        names += length + (names[length] == ',' ? 1 : 0);
    }
    *set = found;
    return SHOAL_OK;
}

/* *out is NULL where the pass changes nothing and no copy is wanted. */
static shoal_status run_pass(const struct graph *graph, enum pass pass,
                             const struct pass_options *options, bool copy, struct graph **out,
                             struct shoal_error *error) {
    struct rewrite *rw = NULL;
    TRY(rewrite_create(graph, &rw, error));
    shoal_status status = passes[pass].run(rw, options, error);
    if (status == SHOAL_OK && (copy || rewrite_changed(rw))) {
        status = rewrite_finish(rw, out, error);
    }
    rewrite_destroy(rw);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "pass %s", pass_name(pass));
}

shoal_status pass_run(const struct graph *graph, enum pass pass, const struct pass_options *options,
                      struct graph **out, struct shoal_error *error) {
    static const struct pass_options none;
    return run_pass(graph, pass, options != NULL ? options : &none, true, out, error);
}

/* *graph is the caller's and replaced. */
static shoal_status step(struct graph **graph, enum pass pass, const struct pass_options *options,
                         bool *changed, struct shoal_error *error) {
    struct graph *next = NULL;
    if ((options->skip >> pass & 1U) != 0) {
        return SHOAL_OK;
    }
    TRY(run_pass(*graph, pass, options, false, &next, error));
    if (next != NULL) {
        graph_destroy(*graph);
        *graph = next;
        *changed = true;
    }
    return SHOAL_OK;
}

/* Until nothing changes any more. */
static shoal_status run_rounds(struct graph **graph, const struct pass_options *options,
                               struct shoal_error *error) {
    bool changed = true;
    for (int round = 0; changed && round < MOST_ROUNDS; round++) {
        changed = false;
        for (int pass = 0; pass < PASS_VIEWS; pass++) {
            TRY(step(graph, (enum pass)pass, options, &changed, error));
        }
    }
    return SHOAL_OK;
}

static shoal_status run_all(struct graph **graph, const struct pass_options *options,
                            struct shoal_error *error) {
    bool changed = false;
    TRY(run_rounds(graph, options, error));
    TRY(step(graph, PASS_VIEWS, options, &changed, error)); /* reshapes do not move as far */
    return changed ? run_rounds(graph, options, error) : SHOAL_OK;
}

static shoal_status copy_graph(const struct graph *graph, struct graph **out,
                               struct shoal_error *error) {
    struct rewrite *rw = NULL;
    TRY(rewrite_create(graph, &rw, error));
    const shoal_status status = rewrite_finish(rw, out, error);
    rewrite_destroy(rw);
    return status;
}

shoal_status graph_optimise(const struct graph *graph, const struct pass_options *options,
                            struct graph **out, struct shoal_error *error) {
    static const struct pass_options none;
    struct graph *now = NULL;
    TRY(copy_graph(graph, &now, error));
    const shoal_status status = run_all(&now, options != NULL ? options : &none, error);
    if (status != SHOAL_OK) {
        graph_destroy(now);
        return status;
    }
    *out = now;
    return SHOAL_OK;
}
