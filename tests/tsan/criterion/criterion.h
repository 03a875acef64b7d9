/* A stand-in for Criterion under ThreadSanitizer, where Criterion 2.4.1 does not start (its shared arena cannot be mapped). The same
 * tests compile against it: each runs in a child process of its own, with a time limit. Only what our tests use is here. */
#ifndef TSAN_CRITERION_H
#define TSAN_CRITERION_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct stand_in_options {
    int unused; /* so that an empty list of options is an initialiser too */
    void (*init)(void);
    void (*fini)(void);
    double timeout; /* seconds */
    const char *description;
} stand_in_options;

typedef struct stand_in_suite {
    const char *name;
    stand_in_options options;
    struct stand_in_suite *next;
} stand_in_suite;

typedef struct stand_in_test {
    const char *suite, *name;
    void (*run)(void);
    stand_in_options options;
    struct stand_in_test *next;
} stand_in_test;

static stand_in_suite *stand_in_suites;
static stand_in_test *stand_in_tests;
static bool stand_in_failed;

enum { STAND_IN_SKIPPED = 77, STAND_IN_TIMEOUT = 850 };

#define Test(SUITE, NAME, ...)                                                                     \
    static void SUITE##_##NAME##_run(void);                                                        \
    static stand_in_test SUITE##_##NAME##_entry = {                                                \
        #SUITE, #NAME, SUITE##_##NAME##_run, {.unused = 0, __VA_ARGS__}, NULL};                    \
    __attribute__((constructor)) static void SUITE##_##NAME##_add(void)                            \
    {                                                                                              \
        SUITE##_##NAME##_entry.next = stand_in_tests;                                              \
        stand_in_tests = &SUITE##_##NAME##_entry;                                                  \
    }                                                                                              \
    static void SUITE##_##NAME##_run(void)

#define TestSuite(SUITE, ...)                                                                      \
    static stand_in_suite SUITE##_suite = {#SUITE, {.unused = 0, __VA_ARGS__}, NULL};              \
    __attribute__((constructor)) static void SUITE##_suite_add(void)                               \
    {                                                                                              \
        SUITE##_suite.next = stand_in_suites;                                                      \
        stand_in_suites = &SUITE##_suite;                                                          \
    }                                                                                              \
    struct stand_in_suite

#define cr_log_info(...)  (printf(__VA_ARGS__), puts(""))
#define cr_log_error(...) (printf(__VA_ARGS__), puts(""))
#define cr_skip_test(...)                                                                          \
    (printf("skipped: " __VA_ARGS__), puts(""), fflush(stdout), _exit(STAND_IN_SKIPPED))

#define STAND_IN_CHECK(FATAL, HOLDS, TEXT, ...)                                                    \
    do {                                                                                           \
        if (!(HOLDS)) {                                                                            \
            printf("%s:%d: %s does not hold. ", __FILE__, __LINE__, TEXT);                         \
            printf(" " __VA_ARGS__);                                                               \
            puts("");                                                                              \
            fflush(stdout);                                                                        \
            stand_in_failed = true;                                                                \
            if (FATAL) {                                                                           \
                _exit(1);                                                                          \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#define cr_assert(C, ...)            STAND_IN_CHECK(true, C, #C, __VA_ARGS__)
#define cr_expect(C, ...)            STAND_IN_CHECK(false, C, #C, __VA_ARGS__)
#define cr_assert_fail(...)          cr_assert(false, __VA_ARGS__)
#define cr_assert_not(C, ...)        cr_assert(!(C), __VA_ARGS__)
#define cr_expect_not(C, ...)        cr_expect(!(C), __VA_ARGS__)
#define cr_assert_eq(A, B, ...)      cr_assert((A) == (B), __VA_ARGS__)
#define cr_expect_eq(A, B, ...)      cr_expect((A) == (B), __VA_ARGS__)
#define cr_assert_neq(A, B, ...)     cr_assert((A) != (B), __VA_ARGS__)
#define cr_expect_neq(A, B, ...)     cr_expect((A) != (B), __VA_ARGS__)
#define cr_assert_lt(A, B, ...)      cr_assert((A) < (B), __VA_ARGS__)
#define cr_expect_lt(A, B, ...)      cr_expect((A) < (B), __VA_ARGS__)
#define cr_assert_leq(A, B, ...)     cr_assert((A) <= (B), __VA_ARGS__)
#define cr_expect_leq(A, B, ...)     cr_expect((A) <= (B), __VA_ARGS__)
#define cr_assert_gt(A, B, ...)      cr_assert((A) > (B), __VA_ARGS__)
#define cr_expect_gt(A, B, ...)      cr_expect((A) > (B), __VA_ARGS__)
#define cr_assert_geq(A, B, ...)     cr_assert((A) >= (B), __VA_ARGS__)
#define cr_expect_geq(A, B, ...)     cr_expect((A) >= (B), __VA_ARGS__)
#define cr_assert_null(A, ...)       cr_assert((A) == NULL, __VA_ARGS__)
#define cr_expect_null(A, ...)       cr_expect((A) == NULL, __VA_ARGS__)
#define cr_assert_not_null(A, ...)   cr_assert((A) != NULL, __VA_ARGS__)
#define cr_expect_not_null(A, ...)   cr_expect((A) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(A, B, ...)  cr_assert(strcmp(A, B) == 0, __VA_ARGS__)
#define cr_expect_str_eq(A, B, ...)  cr_expect(strcmp(A, B) == 0, __VA_ARGS__)
#define cr_assert_str_neq(A, B, ...) cr_assert(strcmp(A, B) != 0, __VA_ARGS__)
#define cr_expect_str_neq(A, B, ...) cr_expect(strcmp(A, B) != 0, __VA_ARGS__)
#define cr_assert_float_eq(A, B, E, ...)                                                           \
    cr_assert(fabs((double)(A) - (double)(B)) <= (double)(E), __VA_ARGS__)
#define cr_expect_float_eq(A, B, E, ...)                                                           \
    cr_expect(fabs((double)(A) - (double)(B)) <= (double)(E), __VA_ARGS__)

static inline const stand_in_options *stand_in_suite_of(const stand_in_test *test)
{
    for (const stand_in_suite *s = stand_in_suites; s != NULL; s = s->next) {
        if (strcmp(s->name, test->suite) == 0) {
            return &s->options;
        }
    }
    return NULL;
}

/* In the child: the suite's fixtures around the test's, as Criterion does. */
static inline void stand_in_run(const stand_in_test *test)
{
    const stand_in_options *suite = stand_in_suite_of(test), *own = &test->options;
    double limit = own->timeout > 0 ? own->timeout : suite != NULL ? suite->timeout : 0;
    void (*init)(void) = own->init != NULL ? own->init : suite != NULL ? suite->init : NULL;
    void (*fini)(void) = own->fini != NULL ? own->fini : suite != NULL ? suite->fini : NULL;
    alarm(limit > 0 ? (unsigned)limit * 4 + 1 : STAND_IN_TIMEOUT); /* the sanitizer is slow */
    if (init != NULL) {
        init();
    }
    test->run();
    if (fini != NULL) {
        fini();
    }
    fflush(stdout);
    exit(stand_in_failed ? 1 : 0);
}

int main(void)
{
    unsigned passed = 0, failed = 0, skipped = 0;
    for (const stand_in_test *test = stand_in_tests; test != NULL; test = test->next) {
        fflush(stdout);
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            stand_in_run(test);
        }
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == STAND_IN_SKIPPED) {
            skipped++;
        } else if (status == 0) {
            passed++;
        } else {
            failed++;
            printf("FAILED %s::%s (status %x)\n", test->suite, test->name, (unsigned)status);
        }
    }
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    return failed != 0;
}

#endif
