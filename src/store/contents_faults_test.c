/* Contents: whole or not there, whatever happens: crashes, full disks, random use. */
#include "store/contents_testing.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* A child does `steps` steps of putting the content and is killed at once. */
static void crash(const char *key, size_t size, int steps) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct contents_options options = {.directory = directory, .lock = true};
        struct contents *contents;
        struct contents_writer *writer = NULL;
        uint64_t have;
        if (steps == 0 || contents_open(&options, &contents, &error) != SHOAL_OK) {
            _exit(1);
        }
        if (contents_write_begin(contents, key, size, &writer, &have, &error) == SHOAL_OK) {
            bool good = true;
            for (uint64_t at = have; good && at < size && --steps > 0;) {
                const size_t piece = size - at < 1777 ? (size_t)(size - at) : 1777;
                good = contents_write(writer, data + at, piece, &error) == SHOAL_OK;
                at += piece;
            }
            if (good && steps > 0 && contents_write_commit(writer, &error) != SHOAL_OK) {
                (void)fprintf(stderr, "%s\n", error.text);
                _exit(1);
            }
        }
        (void)kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(steps == 0 || WIFSIGNALED(status));
}

static void test_a_crash_leaves_a_usable_directory(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT];
    draw(9, 10000, key);
    bool whole = false;
    for (int steps = 1; steps < 12 && !whole; steps++) {
        crash(key, 10000, steps);
        struct contents *contents = open_contents(0, true); /* its lock died with it */
        whole = contents_has(contents, key, NULL);
        assert_int_equal(contents_verify(contents, key, &error),
                         whole ? SHOAL_OK : SHOAL_NOT_FOUND);
        contents_close(contents);
    }
    assert_true(whole);
}

/* Children fill the disk that they see: a small tmpfs of their own, or a limit on files. */
static bool fill_the_disk(void) {
    char first[DIGEST_TEXT], second[DIGEST_TEXT], third[DIGEST_TEXT];
    const struct contents_options options = {.directory = directory, .lock = true};
    struct contents *contents;
    struct contents_usage usage;
    if (contents_open(&options, &contents, &error) != SHOAL_OK) {
        return false;
    }
    draw(1, 600000, first);
    bool good = put(contents, first, 600000) == SHOAL_OK;
    age(first, false, 1);
    good = good && contents_pin(contents, first, &error) == SHOAL_OK;
    draw(2, 600000, second); /* the first is pinned */
    good = good && put(contents, second, 600000) == SHOAL_NO_SPACE &&
           strstr(error.text, directory) != NULL && strstr(error.text, "1.049 MB") != NULL &&
           !contents_has(contents, second, NULL) &&
           contents_usage_get(contents, &usage, &error) == SHOAL_OK && usage.partials == 0;
    contents_unpin(contents, first);
    draw(2, 600000, second); /* now it goes */
    good = good && put(contents, second, 600000) == SHOAL_OK &&
           !contents_has(contents, first, NULL) &&
           contents_verify(contents, second, &error) == SHOAL_OK;
    /* Somebody else fills the disk after the room was found; what may go goes. */
    struct contents_writer *writer = NULL;
    uint64_t have;
    char path[700];
    (void)snprintf(path, sizeof path, "%s/other", directory);
    draw(3, 400000, third);
    good = good &&
           contents_write_begin(contents, third, 400000, &writer, &have, &error) == SHOAL_OK &&
           contents_write(writer, data, 1000, &error) == SHOAL_OK;
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, back, 4096) > 0) {
    }
    good = good && contents_write(writer, data + 1000, 399000, &error) == SHOAL_OK &&
           contents_write_commit(writer, &error) == SHOAL_OK &&
           !contents_has(contents, second, NULL) &&
           contents_verify(contents, third, &error) == SHOAL_OK;
    while (write(fd, back, 4096) > 0) {
    }
    (void)close(fd);
    /* And when nothing may go, it says so, and the partial is not more than was promised. */
    good = good && contents_pin(contents, third, &error) == SHOAL_OK;
    draw(4, 100000, first);
    good = good && put(contents, first, 100000) == SHOAL_NO_SPACE &&
           strstr(error.text, directory) != NULL && contents_has(contents, third, NULL);
    return good && unlink(path) == 0 && put(contents, first, 100000) == SHOAL_OK;
}

static void test_a_full_disk(void **unused) {
    (void)unused;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("none", directory, "tmpfs", 0, "size=1m") != 0) {
            _exit(2);
        }
        const bool good = fill_the_disk();
        if (!good) {
            (void)fprintf(stderr, "%s\n", error.text);
        }
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) {
        print_message("SKIPPED: cannot mount a small file system (not root)\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool meet_the_limit(void) {
    char key[DIGEST_TEXT];
    const struct rlimit limit = {100000, 100000};
    const struct contents_options options = {.directory = directory};
    struct contents *contents;
    struct contents_writer *writer = NULL;
    uint64_t have;
    draw(1, 150000, key);
    bool good = signal(SIGXFSZ, SIG_IGN) != SIG_ERR &&
                contents_open(&options, &contents, &error) == SHOAL_OK &&
                setrlimit(RLIMIT_FSIZE, &limit) == 0 &&
                contents_write_begin(contents, key, 150000, &writer, &have, &error) == SHOAL_OK &&
                contents_write(writer, data, 90000, &error) == SHOAL_OK &&
                contents_write(writer, data + 90000, 60000, &error) == SHOAL_NO_SPACE &&
                strstr(error.text, directory) != NULL;
    contents_write_abandon(writer);
    good = good && !contents_has(contents, key, NULL) &&
           contents_write_begin(contents, key, 150000, &writer, &have, &error) == SHOAL_OK &&
           have == 100000; /* what fitted was kept, and hashes right */
    contents_write_abandon(writer);
    draw(2, 90000, key);
    return good && put(contents, key, 90000) == SHOAL_OK;
}

static void test_a_limit_on_files(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT];
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const bool good = meet_the_limit();
        if (!good) {
            (void)fprintf(stderr, "%s\n", error.text);
        }
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    struct contents *contents = open_contents(0, false);
    draw(1, 150000, key);
    assert_int_equal(put(contents, key, 150000), SHOAL_OK); /* goes on where the limit was */
    contents_close(contents);
}

/* Property: random puts, broken puts, crashes, pins and removals. After each the quota holds, what
 * is whole is right, and what went was what was used longest ago and not pinned. */
enum { PROPERTY_KEYS = 14, PROPERTY_QUOTA = 120 * 1024 };

struct property {
    struct contents *contents;
    char keys[PROPERTY_KEYS][DIGEST_TEXT];
    size_t sizes[PROPERTY_KEYS];
    int pins[PROPERTY_KEYS];
};

static const struct contents_entry *find(const struct contents_entry *entries, size_t count,
                                         const struct contents_entry *wanted) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(entries[i].key, wanted->key) == 0 && entries[i].partial == wanted->partial) {
            return &entries[i];
        }
    }
    return NULL;
}

static void check_property(struct property *p, const struct contents_entry *before,
                           size_t before_count, const char *touched) {
    struct contents_entry *after;
    size_t count;
    uint64_t used = 0;
    assert_int_equal(contents_list(p->contents, &after, &count, &error), SHOAL_OK);
    for (size_t i = 0; i < count; i++) {
        used += (after[i].bytes + 4095) / 4096 * 4096;
        if (!after[i].partial && contents_verify(p->contents, after[i].key, &error) != SHOAL_OK) {
            fail_msg("%s", error.text);
        }
    }
    assert_true(used <= PROPERTY_QUOTA);
    bool kept = false; /* an older one that might have gone */
    for (size_t i = 0; i < before_count; i++) {
        const struct contents_entry *e = &before[i];
        if (strcmp(e->key, touched) == 0) {
            continue;
        }
        const bool there = find(after, count, e) != NULL;
        assert_true(there || (!e->pinned && !kept));
        kept = kept || (there && !e->pinned);
    }
    mem_free(after);
}

static void property_step(struct property *p, uint64_t stream, uint64_t step) {
    const uint64_t at = step * 4;
    const size_t k = random_u32(stream, at) % PROPERTY_KEYS;
    const uint32_t amount = random_u32(stream, at + 1);
    struct contents_writer *writer = NULL;
    uint64_t have;
    draw(k, p->sizes[k], p->keys[k]);
    const uint32_t action = random_u32(stream, at + 2) % 16;
    if (action < 6) {
        const shoal_status status = put(p->contents, p->keys[k], p->sizes[k]);
        assert_true(status == SHOAL_OK || status == SHOAL_NO_SPACE);
    } else if (action < 9) {
        const shoal_status status =
            contents_write_begin(p->contents, p->keys[k], p->sizes[k], &writer, &have, &error);
        assert_true(status == SHOAL_OK || status == SHOAL_NO_SPACE);
        if (status == SHOAL_OK) {
            const size_t more = (size_t)(amount % (p->sizes[k] - have + 1));
            assert_int_equal(contents_write(writer, data + have, more, &error), SHOAL_OK);
            contents_write_abandon(writer);
        }
    } else if (action < 11) {
        const shoal_status status =
            contents_remove(p->contents, p->keys[k], amount % 2 != 0, &error);
        assert_true(status == SHOAL_OK || status == SHOAL_NOT_FOUND);
    } else if (action < 13 && p->pins[k] > 0) {
        contents_unpin(p->contents, p->keys[k]);
        p->pins[k]--;
    } else if (action == 13 && p->pins[k] < 2 && k < 5) {
        assert_int_equal(contents_pin(p->contents, p->keys[k], &error), SHOAL_OK);
        p->pins[k]++;
    } else if (action == 14) {
        (void)!contents_has(p->contents, p->keys[k], NULL);
    } else {
        (void)!contents_make_room(p->contents, amount % PROPERTY_QUOTA, &error);
    }
}

/* A crash now and then: another process, and the pins are gone with it. */
static void property_crash(struct property *p, uint64_t stream, uint64_t step) {
    const uint32_t drawn = random_u32(stream, step * 4 + 3);
    if (drawn % 16 != 0) {
        return;
    }
    char key[DIGEST_TEXT];
    contents_close(p->contents);
    draw(PROPERTY_KEYS + drawn % 3, 3000, key);
    crash(key, 3000, 1 + (int)(drawn / 16 % 5));
    p->contents = open_contents(PROPERTY_QUOTA, true);
    memset(p->pins, 0, sizeof p->pins);
    assert_int_equal(contents_make_room(p->contents, 0, &error), SHOAL_OK);
}

static void run_property(uint64_t seed) {
    const uint64_t stream = random_stream(seed, "contents");
    struct property p = {.contents = open_contents(PROPERTY_QUOTA, true)};
    for (size_t k = 0; k < PROPERTY_KEYS; k++) {
        p.sizes[k] = random_u32(stream, UINT64_MAX - k) % (k % 3 == 0 ? 3000 : 40000);
        draw(k, p.sizes[k], p.keys[k]);
    }
    for (uint64_t step = 0; step < 150; step++) {
        struct contents_entry *before;
        size_t count;
        property_crash(&p, stream, step);
        assert_int_equal(contents_list(p.contents, &before, &count, &error), SHOAL_OK);
        const size_t k = random_u32(stream, step * 4) % PROPERTY_KEYS;
        property_step(&p, stream, step);
        check_property(&p, before, count, p.keys[k]);
        mem_free(before);
    }
    contents_close(p.contents);
}

static void test_random_use(void **unused) {
    (void)unused;
    const char *wanted = getenv("SHOAL_TEST_SEED");
    const uint64_t first = wanted != NULL ? strtoull(wanted, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + (wanted != NULL ? 1 : 4); seed++) {
        print_message("replay: SHOAL_TEST_SEED=%llu contents_faults_test\n",
                      (unsigned long long)seed);
        run_property(seed);
        file_remove_tree(directory);
    }
}

/* Two threads put, evict and remove in one small directory while two look, map and pin. What is
 * pinned and there must stay; what is mapped must be right. */
enum { RACE_KEYS = 8, RACE_SIZE = 9000, RACE_STEPS = 120 };

struct race {
    struct contents *contents;
    char keys[RACE_KEYS][DIGEST_TEXT];
    unsigned char bytes[RACE_KEYS][RACE_SIZE];
    atomic_int failures;
};

static shoal_status put_race(struct race *race, size_t k) {
    struct contents_writer *writer;
    uint64_t have;
    struct shoal_error own;
    TRY(contents_write_begin(race->contents, race->keys[k], RACE_SIZE, &writer, &have, &own));
    const shoal_status status =
        contents_write(writer, race->bytes[k] + have, RACE_SIZE - (size_t)have, &own);
    if (status != SHOAL_OK) {
        contents_write_abandon(writer);
        return status;
    }
    return contents_write_commit(writer, &own);
}

static void *race_writer(void *argument) {
    struct race *race = argument;
    const uint64_t stream = random_stream(1, "writer");
    for (uint64_t step = 0; step < RACE_STEPS; step++) {
        const size_t k = random_u32(stream, step) % RACE_KEYS;
        const shoal_status status = put_race(race, k);
        if (status != SHOAL_OK && status != SHOAL_NO_SPACE && status != SHOAL_BUSY) {
            atomic_fetch_add(&race->failures, 1);
        }
    }
    return NULL;
}

static void *race_reader(void *argument) {
    struct race *race = argument;
    const uint64_t stream = random_stream(2, "reader");
    for (uint64_t step = 0; step < RACE_STEPS; step++) {
        const size_t k = random_u32(stream, step) % RACE_KEYS;
        struct file_map map;
        struct shoal_error own;
        if (contents_pin(race->contents, race->keys[k], &own) != SHOAL_OK) {
            atomic_fetch_add(&race->failures, 1);
            continue;
        }
        if (contents_has(race->contents, race->keys[k], NULL)) {
            const bool good = contents_map(race->contents, race->keys[k], &map, &own) == SHOAL_OK &&
                              map.size == RACE_SIZE &&
                              memcmp(map.data, race->bytes[k], RACE_SIZE) == 0;
            atomic_fetch_add(&race->failures, good ? 0 : 1);
            if (good) {
                file_map_close(&map);
            }
        }
        contents_unpin(race->contents, race->keys[k]);
    }
    return NULL;
}

static void test_threads_share_a_directory(void **unused) {
    (void)unused;
    static struct race race;
    race.contents = open_contents(UINT64_C(4) * 12288, true); /* half of them */
    for (size_t k = 0; k < RACE_KEYS; k++) {
        draw(k, RACE_SIZE, race.keys[k]);
        memcpy(race.bytes[k], data, RACE_SIZE);
    }
    pthread_t threads[4];
    for (int t = 0; t < 4; t++) {
        assert_int_equal(
            pthread_create(&threads[t], NULL, t < 2 ? race_writer : race_reader, &race), 0);
    }
    for (int t = 0; t < 4; t++) {
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    }
    assert_int_equal(atomic_load(&race.failures), 0);
    struct contents_usage usage;
    assert_int_equal(contents_usage_get(race.contents, &usage, &error), SHOAL_OK);
    assert_true(usage.bytes <= UINT64_C(4) * 12288);
    assert_int_equal(usage.partials, 0);
    contents_close(race.contents);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_crash_leaves_a_usable_directory),
        TEST(test_a_full_disk),
        TEST(test_a_limit_on_files),
        TEST(test_random_use),
        TEST(test_threads_share_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
