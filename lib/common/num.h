/* num: numbers, sizes and durations as users write them. All return 0 or -1 (not a number, out of range). */
#ifndef XOS_NUM_H
#define XOS_NUM_H

#include <stddef.h>
#include <stdint.h>

int num_u64(const char *s, uint64_t max, uint64_t *out);        /* decimal, or 0x hex */
int num_i64(const char *s, int64_t min, int64_t max, int64_t *out);
int num_size(const char *s, uint64_t *out);      /* bytes: 10, 10K, 1.5G; factor 1024; an optional B or iB behind */
int num_duration(const char *s, uint64_t *ms);   /* milliseconds: 10 (seconds), 500ms, 10s, 5m, 2h, 1d */
int num_signal(const char *s, int *sig);         /* 15, TERM, SIGTERM, RTMIN+3 */
const char *num_signame(int sig, char *out, size_t n); /* "TERM" */
void num_size_human(uint64_t bytes, char *out, size_t n);  /* "1.5G", as ls -h does */
void num_duration_human(uint64_t ms, char *out, size_t n); /* "12s", "3m05s", "2h11m", "3d04h" */

#endif
