#include "pv_error.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(pv_error, every_status_has_a_text_of_its_own)
{
    static const pv_status all[] = {
#define X(name, value, text) name,
        PV_STATUS_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cr_assert_neq(pv_status_text(all[i])[0], '\0');
        for (size_t k = 0; k < i; k++) {
            cr_assert_str_neq(pv_status_text(all[i]), pv_status_text(all[k]));
        }
    }
    cr_assert_str_eq(pv_status_text((pv_status)-1000), "unknown status");
}

Test(pv_error, the_first_cause_wins)
{
    pv_error err = {0};
    cr_assert_eq(pv_fail(&err, PV_E_IO, "disk %d", 7), PV_E_IO);
    cr_assert_eq(pv_fail(&err, PV_E_NOMEM, "later"), PV_E_NOMEM);
    cr_assert_eq(err.status, PV_E_IO);
    cr_assert_str_eq(err.msg, "disk 7");
}

Test(pv_error, null_is_allowed)
{
    cr_assert_eq(pv_fail(NULL, PV_E_IO, "x"), PV_E_IO);
    cr_assert_eq(pv_fail_os(NULL, PV_E_IO, ENOENT, "x"), PV_E_IO);
    cr_assert_eq(pv_error_wrap(NULL, "x"), PV_E_MISUSE);
    pv_error_clear(NULL);
}

Test(pv_error, system_errors_say_why)
{
    pv_error err = {0};
    pv_fail_os(&err, PV_E_IO, ENOENT, "%s: cannot open", "a.txt");
    cr_assert_eq(err.os_code, ENOENT);
    cr_assert_str_eq(err.msg, "a.txt: cannot open: No such file or directory");
}

Test(pv_error, context_goes_in_front)
{
    pv_error err = {0};
    cr_assert_eq(pv_error_wrap(&err, "x"), PV_E_MISUSE, "nothing to wrap");
    pv_fail(&err, PV_E_INVALID, "line 3");
    cr_assert_eq(pv_error_wrap(&err, "while reading %s", "f"), PV_E_INVALID);
    cr_assert_str_eq(err.msg, "while reading f: line 3");
    pv_error_clear(&err);
    cr_assert_eq(err.status, PV_OK);
    cr_assert_eq(err.msg[0], '\0');
}

Test(pv_error, long_messages_are_cut_and_stay_terminated)
{
    char text[2 * PV_ERROR_MSG_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    pv_error err = {0};
    pv_fail_os(&err, PV_E_IO, EIO, "%s", text);
    cr_assert_eq(strlen(err.msg), PV_ERROR_MSG_MAX - 1);
    pv_error_wrap(&err, "front");
    cr_assert_eq(strncmp(err.msg, "front: x", 8), 0);
    pv_error_wrap(&err, "%s", text); /* no room for any of the cause: the cause is kept */
    cr_assert_eq(strncmp(err.msg, "front: x", 8), 0);
}
