/* The in-process transport: the conformance suite, and what is its own. */
#include "transport/conformance.h"

#include "transport/inproc/inproc.h"

static void *setup(void) {
    struct inproc_hub *hub = NULL;
    return inproc_hub_create(&hub, NULL) == SHOAL_OK ? hub : NULL;
}

static void teardown(void *shared) {
    inproc_hub_destroy(shared);
}

static shoal_status create(void *shared, int index, const struct transport_options *options,
                           struct transport **out, struct shoal_error *error) {
    (void)index;
    return inproc_create(shared, options, out, error);
}

static shoal_status dial(void *shared, struct transport *from, int from_index, int to_index,
                         struct shoal_error *error) {
    (void)shared;
    (void)from_index;
    return from->ops->connect(from, device_name(to_index), NULL, NULL, error);
}

static const struct conformance implementation = {.setup = setup,
                                                  .teardown = teardown,
                                                  .create = create,
                                                  .connect = dial,
                                                  .vanish = inproc_vanish};

static void test_create_busy_name_is_taken(void **state) {
    (void)state;
    struct inproc_hub *hub = setup();
    struct transport *a = NULL, *b = NULL;
    const struct transport_options options = {.name = "device-0"};
    struct shoal_error error = {.text = ""};
    assert_int_equal(inproc_create(hub, &options, &a, &error), SHOAL_OK);
    assert_int_equal(inproc_create(hub, &options, &b, &error), SHOAL_BUSY);
    assert_null(b);
    assert_null(a->ops->address(a));
    assert_null(a->ops->name_of_key(a, "any key"));
    a->ops->destroy(a);
    inproc_hub_destroy(hub);
    inproc_hub_destroy(NULL);
}

int main(void) {
    struct CMUnitTest tests[64];
    size_t count = conformance_tests(&implementation, tests, 64);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_create_busy_name_is_taken);
    return _cmocka_run_group_tests("inproc", tests, count, NULL, NULL);
}
