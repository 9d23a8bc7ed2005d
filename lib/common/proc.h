/* proc: parsers for /proc/PID, see proc(5). They read the kernel's own files, so
 * malformed input is an error (EX_FAILED), and a process that is gone is errno ESRCH
 * in e->sys with EX_NOSUCH. */
#ifndef XOS_PROC_H
#define XOS_PROC_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROC_MAX_GROUPS = 65536, PROC_MAX_NSDEPTH = 33 };

struct proc_stat { /* /proc/PID/stat or /proc/PID/task/TID/stat */
	pid_t pid, ppid, pgrp, session, tpgid;
	char comm[64];
	char state;
	int tty_nr;
	uint32_t flags;
	uint64_t utime, stime;      /* clock ticks */
	int priority, nice;
	int num_threads;
	uint64_t starttime;         /* clock ticks since boot */
	uint64_t vsize;             /* bytes */
	int64_t rss;                /* pages */
	uint64_t start_code, end_code, start_stack;
	int exit_signal;
	uint32_t rt_priority, policy;
	uint64_t start_data, end_data, start_brk;
	uint64_t arg_start, arg_end, env_start, env_end;
	int exit_code;              /* wait(2) status of a zombie */
};
struct proc_status { /* /proc/PID/status */
	mode_t umask;
	char state;
	pid_t tgid, pid, ppid, tracer;
	uid_t uid[4];               /* real, effective, saved, fs */
	gid_t gid[4];
	gid_t *groups; size_t ngroups;           /* owned; proc_status_free() */
	pid_t nspid[PROC_MAX_NSDEPTH]; size_t nnspid; /* [0]: as seen here, last: innermost */
	pid_t nspgid[PROC_MAX_NSDEPTH], nssid[PROC_MAX_NSDEPTH]; /* as nspid; 0: not to be seen there */
	uint64_t sigpnd, shdpnd, sigblk, sigign, sigcgt;
	uint64_t capinh, capprm, capeff, capbnd, capamb;
	bool no_new_privs; int seccomp; int seccomp_filters; /* -1 when the kernel does not say */
	int threads;
	uint64_t vm_rss_kb, vm_hwm_kb, vm_size_kb, vm_lck_kb;
	bool has_mm;                /* false: zombie or kernel thread */
};
/* tid 0: the process itself (/proc/PID/stat). */
int proc_stat_read(struct proc_stat *s, pid_t pid, pid_t tid, struct err *e);
/* The process has ended: a zombie (or less) that is not only the first thread, with others that go on. */
bool proc_stat_ended(const struct proc_stat *s);
int proc_stat_parse(struct proc_stat *s, const char *text, struct err *e);
int proc_status_read(struct proc_status *s, pid_t pid, pid_t tid, struct err *e);
int proc_status_parse(struct proc_status *s, const char *text, struct err *e);
void proc_status_free(struct proc_status *s);

struct proc_map { /* a line of /proc/PID/maps, smaps */
	uint64_t start, end;
	bool r, w, x, shared;
	uint64_t offset;
	uint32_t dev_major, dev_minor;
	uint64_t inode;
	char *path;                 /* owned; "" for anonymous; as the kernel prints it, with \012 for newline undone.
				     * A name that itself holds \012 or ends in " (deleted)" looks the same:
				     * /proc/PID/map_files tells them apart. */
	bool deleted;               /* " (deleted)" was there and taken off path */
	/* from smaps only: */
	char vmflags[128];          /* " rd ex mr mw me " with a space on both ends, or "" */
	uint64_t page_kb;           /* KernelPageSize */
	uint64_t rss_kb, anon_kb, swap_kb, private_dirty_kb;
};
struct proc_maps { struct proc_map *v; size_t n; };
/* smaps: reads /proc/PID/smaps (slower) instead of maps. */
int proc_maps_read(struct proc_maps *m, pid_t pid, bool smaps, struct err *e);
int proc_maps_parse(struct proc_maps *m, char *text, bool smaps, struct err *e);
void proc_maps_free(struct proc_maps *m);
bool proc_map_flag(const struct proc_map *m, const char *two); /* "dc", "lo", ... */

struct pid_list { pid_t *v; size_t n, cap; };
int pid_list_add(struct pid_list *l, pid_t p);         /* 0 or -1 ENOMEM */
bool pid_list_has(const struct pid_list *l, pid_t p);  /* linear */
void pid_list_free(struct pid_list *l);
/* Thread ids of a process, ascending; ESRCH when it is gone. */
int proc_tasks(struct pid_list *l, pid_t pid, struct err *e);
/* All processes below root (children, their children, ...), root itself not included, by
 * /proc/PID/task/TID/children where the kernel has it, else by scanning /proc. Complete only
 * while none of them forks or ends: stop them, or ask again until nothing new comes. */
int proc_descendants(struct pid_list *l, pid_t root, struct err *e);
/* The same, always by scanning /proc. */
int proc_descendants_scan(struct pid_list *l, pid_t root, struct err *e);
/* readlink of /proc/PID/NAME into out (NUL-terminated). -1 with errno. */
ssize_t proc_readlink(pid_t pid, const char *name, char *out, size_t n);
/* Whole of /proc/PID/NAME. -1 with errno. */
int proc_read(struct buf *b, pid_t pid, const char *name, size_t limit);
/* The process started at `starttime` is still that one (PIDs are reused). */
bool proc_is_same(pid_t pid, uint64_t starttime);

#endif
