/* pv_clock: time that only goes forward. Threads: any. */
#ifndef PV_CLOCK_H
#define PV_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

uint64_t pv_clock_ns(void);     /* CLOCK_MONOTONIC, nanoseconds                       */
uint64_t pv_clock_ms(void);     /* the same in milliseconds                           */
uint64_t pv_clock_cpu_ns(void); /* CPU time of the calling thread, nanoseconds        */

#ifdef __cplusplus
}
#endif
#endif
