/*
 * The ONNX standard's own tests, every one, against the list of those that pass (passing.txt): one
 * that no longer passes fails this test, one that passes but is not listed is reported. Each runs
 * twice: the graph as it was imported, and as the passes made it.
 *
 * The tests are not part of the project: they are looked for in $SHOAL_SHARED, by default
 * ../shared; without them nothing is tested, and that is said.
 *
 *     conformance                 compare with passing.txt
 *     conformance --list FILE     write the list of those that pass to FILE, print counts and
 *                                 reasons; --reasons FILE writes the reason of each
 *     conformance --only TEXT     only tests whose name contains TEXT, all said about them
 */
#include "base/memory.h"
#include "formats/onnx/check.h"
#include "graph/passes/passes.h"
#include "platform/file.h"

#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define SKIPPED 77 /* as CTest is told */

static const struct {
    const char *archive, *version;
} archives[] = {
    {"onnx-node-tests.tar.xz", "v1.22.0"},
    {"onnx-node-tests-opset17.tar.xz", "v1.12.0"},
};

struct suite {
    char directory[1024]; /* with the unpacked tests */
    char *passing;        /* passing.txt, each line between newlines */
    const char *only;
    FILE *list, *reasons;
    uint32_t all, passed, bound /* of these, with known inputs */, listed, lost, gained;
};

static shoal_status unpack(const char *archive, const char *directory, struct shoal_error *error) {
    const char *const arguments[] = {"tar", "-xJf", archive, "-C", directory, NULL};
    pid_t child;
    int state = 0;
    char *words[6];
    for (int i = 0; i < 6; i++) {
        words[i] = arguments[i] != NULL ? mem_strdup(arguments[i]) : NULL;
    }
    const int failed = posix_spawnp(&child, "tar", NULL, NULL, words, environ);
    for (int i = 0; i < 6; i++) {
        mem_free(words[i]);
    }
    if (failed != 0 || waitpid(child, &state, 0) != child || state != 0) {
        return error_set(error, SHOAL_IO, "%s: tar cannot unpack it", archive);
    }
    return SHOAL_OK;
}

/* "" where it passes; otherwise why not. */
static void run_once(const char *directory, const struct check_options *options,
                     char reason[SHOAL_ERROR_TEXT], uint64_t *known) {
    char path[1400];
    struct onnx_model *model = NULL;
    struct shoal_error error;
    (void)snprintf(path, sizeof path, "%s/model.onnx", directory);
    reason[0] = '\0';
    if (onnx_open(path, &model, &error) != SHOAL_OK) {
        (void)snprintf(reason, SHOAL_ERROR_TEXT, "%s", error.text);
        return;
    }
    for (int set = 0; reason[0] == '\0'; set++) {
        struct check_outcome outcome;
        (void)snprintf(path, sizeof path, "%s/test_data_set_%d", directory, set);
        if (set > 0 && !file_is_directory(path)) {
            break;
        }
        if (check_data_set(model, path, options, &outcome, &error) != SHOAL_OK) {
            (void)snprintf(reason, SHOAL_ERROR_TEXT, "%s", error.text);
        } else if (!outcome.agrees) {
            (void)snprintf(reason, SHOAL_ERROR_TEXT, "%s", outcome.text);
        } else {
            *known |= outcome.known;
        }
    }
    onnx_close(model);
}

static shoal_status optimise(const struct graph *graph, struct weight_source *source, void *context,
                             struct graph **out, struct shoal_error *error) {
    const struct pass_options options = {.source = source};
    (void)context;
    return graph_optimise(graph, &options, out, error);
}

static bool is_listed(const struct suite *suite, const char *name) {
    char line[300];
    (void)snprintf(line, sizeof line, "\n%s\n", name);
    return strstr(suite->passing, line) != NULL;
}

static void run_test(struct suite *suite, const char *version, const char *kind, const char *test) {
    char name[256], directory[1024 + 300], reason[SHOAL_ERROR_TEXT];
    struct check_options options = {.rtol = CHECK_RTOL, .atol = CHECK_ATOL, .threads = 1};
    uint64_t known = 0; /* inputs whose values the graph holds */
    (void)snprintf(name, sizeof name, "%s/%s/%s", version, kind, test);
    if (suite->only != NULL && strstr(name, suite->only) == NULL) {
        return;
    }
    (void)snprintf(directory, sizeof directory, "%s/%s", suite->directory, name);
    run_once(directory, &options, reason, &known);
    if (reason[0] == '\0') {
        options.optimise = optimise;
        run_once(directory, &options, reason, &known);
    }
    const bool passes = reason[0] == '\0', listed = is_listed(suite, name);
    suite->all++;
    suite->passed += passes ? 1 : 0;
    suite->bound += passes && known != 0 ? 1 : 0;
    suite->listed += listed ? 1 : 0;
    if (suite->list != NULL && passes) {
        (void)fprintf(suite->list, "%s\n", name);
    }
    if (suite->reasons != NULL || suite->only != NULL) {
        (void)fprintf(suite->reasons != NULL ? suite->reasons : stdout, "%s\t%s\n", name,
                      passes ? "passes" : reason);
        (void)fflush(suite->reasons);
    }
    if (suite->list == NULL && listed && !passes) {
        suite->lost++;
        printf("%s: passed before, now: %s\n", name, reason);
    } else if (suite->list == NULL && passes && !listed) {
        suite->gained++;
        printf("%s: passes, but is not in passing.txt\n", name);
    }
}

/* The tests that an INDEX.tsv lists: kind, name, and what else it says of them. */
static shoal_status run_version(struct suite *suite, const char *version,
                                struct shoal_error *error) {
    char path[1400], *text = NULL, *next;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/%s/INDEX.tsv", suite->directory, version);
    TRY(file_read(path, (size_t)64 << 20, &text, &size, error));
    for (char *line = strchr(text, '\n'); line != NULL && line[1] != '\0'; line = next) {
        char *kind = line + 1;
        next = strchr(kind, '\n');
        kind[strcspn(kind, "\n")] = '\0';
        char *test = kind + strcspn(kind, "\t");
        if (*test != '\0') {
            *test++ = '\0';
            test[strcspn(test, "\t")] = '\0';
            run_test(suite, version, kind, test);
        }
    }
    mem_free(text);
    return SHOAL_OK;
}

static shoal_status run_all(struct suite *suite, const char *shared, struct shoal_error *error) {
    for (size_t i = 0; i < sizeof archives / sizeof archives[0]; i++) {
        char path[1200];
        const struct suite before = *suite;
        (void)snprintf(path, sizeof path, "%s/data/%s", shared, archives[i].archive);
        if (!file_exists(path)) {
            continue;
        }
        TRY(unpack(path, suite->directory, error));
        TRY(run_version(suite, archives[i].version, error));
        printf("%s: %" PRIu32 " of %" PRIu32 " tests pass (%" PRIu32
               " with values of inputs known at import), %" PRIu32 " are listed\n",
               archives[i].version, suite->passed - before.passed, suite->all - before.all,
               suite->bound - before.bound, suite->listed - before.listed);
    }
    return SHOAL_OK;
}

static shoal_status read_passing(struct suite *suite, const char *root, struct shoal_error *error) {
    char path[1024], *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/tests/conformance/passing.txt", root);
    TRY(file_read(path, (size_t)16 << 20, &text, &size, error));
    suite->passing = mem_format("\n%s", text);
    mem_free(text);
    return suite->passing != NULL ? SHOAL_OK : error_set(error, SHOAL_NO_MEMORY, "no memory");
}

static shoal_status run(struct suite *suite, const char *shared, const char *root,
                        struct shoal_error *error) {
    TRY(read_passing(suite, root, error));
    TRY(file_make_temporary(suite->directory, sizeof suite->directory, error));
    const shoal_status status = run_all(suite, shared, error);
    file_remove_tree(suite->directory);
    return status;
}

static bool parse(int argc, char **argv, struct suite *suite) {
    for (int i = 1; i + 1 < argc; i += 2) {
        FILE **file = strcmp(argv[i], "--list") == 0      ? &suite->list
                      : strcmp(argv[i], "--reasons") == 0 ? &suite->reasons
                                                          : NULL;
        if (strcmp(argv[i], "--only") == 0) {
            suite->only = argv[i + 1];
        } else if (file == NULL || (*file = fopen(argv[i + 1], "w")) == NULL) {
            return false;
        }
    }
    return argc % 2 == 1;
}

int main(int argc, char **argv) {
    const char *shared = getenv("SHOAL_SHARED"), *root = getenv("SHOAL_SOURCE_DIR");
    char fallback[1024], archive[1200];
    struct suite suite = {0};
    struct shoal_error error;
    root = root != NULL ? root : ".";
    (void)snprintf(fallback, sizeof fallback, "%s/../shared", root);
    shared = shared != NULL ? shared : fallback;
    (void)snprintf(archive, sizeof archive, "%s/data/%s", shared, archives[0].archive);
    if (!parse(argc, argv, &suite)) {
        (void)fprintf(stderr, "usage: conformance [--list FILE] [--reasons FILE] [--only TEXT]\n");
        return 2;
    }
    if (!file_exists(archive)) {
        printf("skipped: there is no %s ($SHOAL_SHARED says where to look)\n", archive);
        return SKIPPED;
    }
    const shoal_status status = run(&suite, shared, root, &error);
    mem_free(suite.passing);
    const bool written = (suite.list == NULL || fclose(suite.list) == 0) &&
                         (suite.reasons == NULL || fclose(suite.reasons) == 0);
    if (status != SHOAL_OK || !written) {
        (void)fprintf(stderr, "conformance: %s\n",
                      status != SHOAL_OK ? error.text : "cannot write");
        return 1;
    }
    printf("%" PRIu32 " lost, %" PRIu32 " gained\n", suite.lost, suite.gained);
    return suite.lost == 0 ? 0 : 1;
}
