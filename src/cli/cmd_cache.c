/* shoal cache: what this machine keeps of models. Works beside a running node: the files are the
 * truth. */
#include "base/memory.h"
#include "cli/cli.h"
#include "platform/file.h"
#include "store/contents.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SHOWN_DIGITS 12
#define LEAST_DIGITS 4

struct cache_arguments {
    const char *directory;
    struct args_list prefixes;
    int64_t older_days; /* -1: not given */
    bool all, partial, remove, json;
};

struct cache {
    const struct cache_arguments *arguments;
    struct contents *contents;
    struct contents_entry *entries; /* what was used longest ago comes first */
    size_t count;
};

static double megabytes(uint64_t bytes) {
    return (double)bytes / 1e6;
}

static shoal_status print_document(json_t *document, struct shoal_error *error) {
    const bool printed = document != NULL && json_dumpf(document, stdout, JSON_INDENT(1)) == 0 &&
                         fputc('\n', stdout) != EOF;
    json_decref(document);
    return printed ? cli_flush(error)
                   : error_set(error, SHOAL_IO, "cannot write to standard output");
}

/* A list that goes through its caller's hands once. */
static bool append(json_t *list, json_t *item) {
    return json_array_append_new(list, item) == 0;
}

/* ls */

static json_t *entry_json(const struct contents_entry *entry) {
    return json_pack("{s:s, s:I, s:f, s:b, s:b}", "key", entry->key, "bytes",
                     (json_int_t)entry->bytes, "used_s", (double)entry->used_ns * 1e-9, "partial",
                     (int)entry->partial, "arriving", (int)entry->busy);
}

static shoal_status list_json(const struct cache *cache, const struct contents_usage *usage,
                              long holder, struct shoal_error *error) {
    json_t *list = json_array();
    for (size_t i = cache->count; i-- > 0;) {
        if (!append(list, entry_json(&cache->entries[i]))) {
            json_decref(list);
            return error_set(error, SHOAL_NO_MEMORY, "no memory for the list");
        }
    }
    json_t *root = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "directory", contents_directory(cache->contents),
        "bytes", (json_int_t)usage->bytes, "partial_bytes", (json_int_t)usage->partial_bytes,
        "quota_bytes", (json_int_t)usage->quota_bytes, "disk_free_bytes",
        (json_int_t)usage->disk_free_bytes, "process", (json_int_t)holder, "contents", list);
    return print_document(root, error);
}

static void print_entry(const struct contents_entry *entry) {
    const time_t used = (time_t)(entry->used_ns / 1000000000);
    struct tm local;
    char when[32] = "?";
    if (localtime_r(&used, &local) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M", &local);
    }
    printf("%.*s  %12.3f  %-16s%s\n", SHOWN_DIGITS, entry->key, megabytes(entry->bytes), when,
           entry->busy      ? "  arriving"
           : entry->partial ? "  partial"
                            : "");
}

static void print_totals(const struct cache *cache, const struct contents_usage *usage,
                         long holder) {
    printf("%s: %zu contents", contents_directory(cache->contents), usage->contents);
    if (usage->partials > 0) {
        printf(" and %zu partial ones", usage->partials);
    }
    printf(", %.1f MB on disk", megabytes(usage->bytes));
    if (usage->quota_bytes > 0) {
        printf(" of at most %.1f MB", megabytes(usage->quota_bytes));
    }
    printf("; %.1f MB are free", megabytes(usage->disk_free_bytes));
    if (holder > 0) {
        printf("; used by process %ld", holder);
    }
    printf("\n");
}

static shoal_status list_contents(struct cache *cache, struct shoal_error *error) {
    struct contents_usage usage;
    TRY(contents_usage_get(cache->contents, &usage, error));
    const long holder = contents_holder(cache->contents, &usage.quota_bytes);
    if (cache->arguments->json) {
        return list_json(cache, &usage, holder, error);
    }
    if (cache->count > 0) {
        printf("%-*s  %12s  %s\n", SHOWN_DIGITS, "KEY", "MB", "LAST USED");
    }
    for (size_t i = cache->count; i-- > 0;) {
        print_entry(&cache->entries[i]);
    }
    print_totals(cache, &usage, holder);
    return cli_flush(error);
}

/* rm */

/* The key that a prefix stands for must be one. */
static shoal_status mark_prefix(const struct cache *cache, const char *prefix, bool *chosen,
                                struct shoal_error *error) {
    const size_t length = strlen(prefix);
    const char *key = NULL;
    if (length < LEAST_DIGITS || length > DIGEST_TEXT - 1 ||
        strspn(prefix, "0123456789abcdef") != length) {
        return error_set(error, SHOAL_USAGE,
                         "'%.80s' is no beginning of a key: give %d to 64 of its digits", prefix,
                         LEAST_DIGITS);
    }
    for (size_t i = 0; i < cache->count; i++) {
        if (strncmp(cache->entries[i].key, prefix, length) != 0) {
            continue;
        }
        if (key != NULL && strcmp(key, cache->entries[i].key) != 0) {
            return error_set(error, SHOAL_INVALID,
                             "%s begins several keys, such as %.20s and %.20s: give more digits",
                             prefix, key, cache->entries[i].key);
        }
        key = cache->entries[i].key;
        chosen[i] = true;
    }
    return key != NULL ? SHOAL_OK
                       : error_set(error, SHOAL_NOT_FOUND, "%s has no content %s",
                                   contents_directory(cache->contents), prefix);
}

static shoal_status choose(const struct cache *cache, bool *chosen, struct shoal_error *error) {
    const struct cache_arguments *a = cache->arguments;
    if (a->prefixes.count > 0) {
        for (size_t i = 0; i < a->prefixes.count; i++) {
            TRY(mark_prefix(cache, a->prefixes.items[i], chosen, error));
        }
        return SHOAL_OK;
    }
    const int64_t now_s = (int64_t)time(NULL);
    for (size_t i = 0; i < cache->count; i++) {
        const struct contents_entry *entry = &cache->entries[i];
        const bool old = a->older_days < 0 ||
                         now_s - entry->used_ns / 1000000000 >= a->older_days * INT64_C(86400);
        chosen[i] = old && (!a->partial || entry->partial);
    }
    return SHOAL_OK;
}

struct removed {
    size_t contents, busy;
    uint64_t bytes;
};

static shoal_status remove_chosen(const struct cache *cache, const bool *chosen,
                                  struct removed *out, struct shoal_error *error) {
    for (size_t i = 0; i < cache->count; i++) {
        const struct contents_entry *entry = &cache->entries[i];
        if (!chosen[i]) {
            continue;
        }
        const shoal_status status =
            contents_remove(cache->contents, entry->key, entry->partial, error);
        if (status == SHOAL_OK) {
            out->contents++;
            out->bytes += entry->bytes;
        } else if (status == SHOAL_BUSY) {
            out->busy++;
        } else if (status != SHOAL_NOT_FOUND) { /* somebody else was faster */
            return status;
        }
    }
    return SHOAL_OK;
}

static shoal_status remove_contents(struct cache *cache, struct shoal_error *error) {
    bool *chosen = mem_calloc(cache->count + 1, sizeof *chosen);
    if (chosen == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the list");
    }
    struct removed removed = {0};
    shoal_status status = choose(cache, chosen, error);
    if (status == SHOAL_OK) {
        status = remove_chosen(cache, chosen, &removed, error);
    }
    mem_free(chosen);
    TRY(status);
    if (cache->arguments->json) {
        return print_document(json_pack("{s:I, s:I, s:I}", "removed", (json_int_t)removed.contents,
                                        "bytes", (json_int_t)removed.bytes, "arriving",
                                        (json_int_t)removed.busy),
                              error);
    }
    printf("removed %zu contents, %.3f MB\n", removed.contents, megabytes(removed.bytes));
    if (removed.busy > 0) {
        printf("left %zu that are arriving\n", removed.busy);
    }
    return cli_flush(error);
}

/* verify */

struct verified {
    size_t contents, damaged, removed;
    json_t *keys; /* of the damaged */
};

static void show_progress(size_t done, size_t count, uint64_t bytes, uint64_t total) {
    if (isatty(STDERR_FILENO) != 0) {
        (void)fprintf(stderr, "\r\033[K%zu of %zu contents, %.0f %%", done, count,
                      total > 0 ? 100.0 * (double)bytes / (double)total : 100.0);
    }
}

static void clear_progress(void) {
    if (isatty(STDERR_FILENO) != 0) {
        (void)fprintf(stderr, "\r\033[K");
    }
}

static shoal_status report_damage(const struct cache *cache, const char *key, struct verified *out,
                                  struct shoal_error *error) {
    out->damaged++;
    bool removed = false;
    if (cache->arguments->remove) {
        const shoal_status status = contents_remove(cache->contents, key, false, error);
        if (status != SHOAL_OK && status != SHOAL_NOT_FOUND) {
            return status;
        }
        removed = true;
        out->removed++;
    }
    if (!cache->arguments->json) {
        clear_progress();
        printf("%s is damaged%s\n", key, removed ? ": removed" : "");
    }
    return append(out->keys, json_string(key))
               ? SHOAL_OK
               : error_set(error, SHOAL_NO_MEMORY, "no memory for the list");
}

static shoal_status verify_all(const struct cache *cache, struct verified *out,
                               struct shoal_error *error) {
    uint64_t total = 0, done = 0;
    size_t count = 0, at = 0;
    for (size_t i = 0; i < cache->count; i++) {
        total += cache->entries[i].partial ? 0 : cache->entries[i].bytes;
        count += cache->entries[i].partial ? 0 : 1;
    }
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < cache->count && status == SHOAL_OK; i++) {
        const struct contents_entry *entry = &cache->entries[i];
        if (entry->partial) {
            continue;
        }
        show_progress(at++, count, done, total);
        status = contents_verify(cache->contents, entry->key, error);
        done += entry->bytes;
        out->contents += status == SHOAL_NOT_FOUND ? 0 : 1;
        if (status == SHOAL_CORRUPT) {
            status = report_damage(cache, entry->key, out, error);
        } else if (status == SHOAL_NOT_FOUND) {
            status = SHOAL_OK; /* it was removed meanwhile */
        }
    }
    clear_progress();
    return status;
}

static shoal_status report_verified(const struct cache *cache, const struct verified *verified,
                                    struct shoal_error *error) {
    if (cache->arguments->json) {
        TRY(print_document(json_pack("{s:I, s:O, s:I}", "verified", (json_int_t)verified->contents,
                                     "damaged", verified->keys, "removed",
                                     (json_int_t)verified->removed),
                           error));
    } else {
        printf("%zu contents verified, %zu damaged\n", verified->contents, verified->damaged);
        TRY(cli_flush(error));
    }
    return verified->damaged == 0
               ? SHOAL_OK
               : error_set(error, SHOAL_CORRUPT,
                           "%zu damaged contents%s; what a job needs of them is fetched again, but "
                           "the disk may be failing",
                           verified->damaged,
                           cache->arguments->remove ? " were removed" : " (--remove deletes them)");
}

static shoal_status verify_contents(struct cache *cache, struct shoal_error *error) {
    struct verified verified = {.keys = json_array()};
    shoal_status status = verify_all(cache, &verified, error);
    if (status == SHOAL_OK) {
        status = report_verified(cache, &verified, error);
    }
    json_decref(verified.keys);
    return status;
}

static const struct {
    const char *name;
    shoal_status (*run)(struct cache *cache, struct shoal_error *error);
} actions[] = {{"ls", list_contents}, {"rm", remove_contents}, {"verify", verify_contents}};

/* Each action's own words and options, so that none is ignored silently. */
static shoal_status check_arguments(const struct cache_arguments *a, const char *action,
                                    struct shoal_error *error) {
    const bool rm = strcmp(action, "rm") == 0, verify = strcmp(action, "verify") == 0;
    const bool chosen = a->all || a->partial || a->older_days >= 0;
    if (!rm && (a->prefixes.count > 0 || chosen)) {
        return error_set(error, SHOAL_USAGE,
                         "keys, --all, --older-than and --partial go with 'shoal cache rm'");
    }
    if (!verify && a->remove) {
        return error_set(error, SHOAL_USAGE, "--remove goes with 'shoal cache verify'");
    }
    if (rm && !chosen && a->prefixes.count == 0) {
        return error_set(error, SHOAL_USAGE,
                         "say which: beginnings of keys, --all, --older-than DAYS or --partial");
    }
    if (rm && (a->prefixes.count > 0 || a->all) &&
        (a->prefixes.count > 0) + a->all + a->partial + (a->older_days >= 0) > 1) {
        return error_set(error, SHOAL_USAGE,
                         "keys, --all, and --older-than or --partial exclude each other");
    }
    return SHOAL_OK;
}

static shoal_status run_action(const struct cache_arguments *arguments, const char *name,
                               struct shoal_error *error) {
    size_t action = 0;
    while (action < sizeof actions / sizeof actions[0] && strcmp(name, actions[action].name) != 0) {
        action++;
    }
    if (action == sizeof actions / sizeof actions[0]) {
        return error_set(error, SHOAL_USAGE, "'%.40s': choose ls, rm or verify", name);
    }
    TRY(check_arguments(arguments, name, error));
    char path[4096];
    if (arguments->directory == NULL) {
        TRY(contents_default_directory(path, sizeof path, error));
    } else if (!file_is_directory(arguments->directory)) {
        return error_set(error, SHOAL_NOT_FOUND, "--cache %s: there is no such directory",
                         arguments->directory);
    }
    const struct contents_options options = {
        .directory = arguments->directory != NULL ? arguments->directory : path};
    struct cache cache = {.arguments = arguments};
    TRY(contents_open(&options, &cache.contents, error));
    shoal_status status = contents_list(cache.contents, &cache.entries, &cache.count, error);
    if (status == SHOAL_OK) {
        status = actions[action].run(&cache, error);
        mem_free(cache.entries);
    }
    contents_close(cache.contents);
    return status;
}

int cli_cache(int argc, char **argv) {
    static struct cache_arguments a = {.older_days = -1};
    const struct args_option options[] = {
        {"cache", ARGS_TEXT, "DIR", "the cache's directory (default: cache in Shoal's directory)",
         &a.directory, 0, 0},
        {"all", ARGS_FLAG, NULL, "rm: everything", &a.all, 0, 0},
        {"older-than", ARGS_COUNT, "DAYS", "rm: what was not used for so many days", &a.older_days,
         0, 36500},
        {"partial", ARGS_FLAG, NULL, "rm: what broken transfers left", &a.partial, 0, 0},
        {"remove", ARGS_FLAG, NULL, "verify: remove what is damaged", &a.remove, 0, 0},
        {"json", ARGS_FLAG, NULL, "one JSON document on standard output, nothing else", &a.json, 0,
         0},
    };
    const struct args_command command = {
        .name = "cache",
        .positional = "ls|rm|verify",
        .rest = "[KEY-PREFIX...]",
        .rest_out = &a.prefixes,
        .summary =
            "What this machine keeps of models: tensors and manifests, each under its SHA-256.\n"
            "All three work beside a running node, which fetches again what it misses.\n\n"
            "  ls      list it, the latest used first\n"
            "  rm      remove contents by the beginnings of their keys, or by age\n"
            "  verify  read and hash everything again; status 1 if something is damaged",
        .examples = "  shoal cache ls\n"
                    "  shoal cache rm 3f9a61c2\n"
                    "  shoal cache rm --older-than 30\n"
                    "  shoal cache verify --remove\n"
                    "  shoal cache ls --cache /var/lib/shoal/cache --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0]};
    bool done;
    int exit_status;
    const char *action = cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    return run_action(&a, action, &error) == SHOAL_OK ? 0 : cli_fail("cache", &error);
}
