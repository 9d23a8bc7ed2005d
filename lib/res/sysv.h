/* sysv: System V shared memory, semaphores and message queues. sysvipc(7), proc_sysvipc(5).
 *
 * sysv.c: what is there, as records; sysv_check.c: what of it is the job's, and what prevents a checkpoint;
 * sysv_dump.c: its state; sysv_undo.c: what semaphores are given back at exit; sysv_restore.c, sysv_last.c: the way back. */
#ifndef XOS_SYSV_H
#define XOS_SYSV_H

#include "res/mm.h"

enum {
	SYSV_MAX_OBJECTS = 1 << 20,
	SYSV_MAX_SEMS = 1 << 16,       /* of one set */
	SYSV_MAX_MESSAGE = 16 << 20,   /* bytes of one message */
	SYSV_SHM_DEST = 01000, SYSV_SHM_LOCKED = 02000,  /* in MODE of a segment */
	SYSV_VALUE_MAX = 32767,        /* SEMVMX: of a semaphore, and of what is given back */
};
enum sysv_kind { SYSV_SHM, SYSV_SEM, SYSV_MSG, SYSV_KINDS };
extern const char *const sysv_types[SYSV_KINDS];   /* TYPE of its record: "sysvshm", ... */
extern const char *const sysv_names[SYSV_KINDS];   /* for messages: "shared memory segment", ... */

/* One object: as the kernel tells of it, as an image does. PIDs are as seen here in the first case, as the job sees them in
 * the second (0: no member). */
struct sysv_obj {
	enum sysv_kind kind;
	int id, key;
	unsigned mode;                 /* permissions; of a segment SYSV_SHM_* too */
	unsigned uid, gid, cuid, cgid;
	uint64_t size;                 /* bytes; number of semaphores; bytes that a queue may hold */
	uint64_t count;                /* attachments; waiting processes; messages */
	int pid[2];                    /* creator and last attacher or detacher; last sender and receiver */
	uint16_t *val;                 /* of each semaphore; NULL when the set may not be read */
	int *last;                     /* who changed it last */
	int64_t time;                  /* when it was used or changed last, seconds since the epoch */
	bool swapped;                  /* some of it may be in the swap space */
	/* checkpoint */
	struct dproc *user;            /* a member that uses it; NULL: not the job's */
	uint32_t number;               /* of a segment among the job's, from 1 */
	uint64_t attached;             /* by members */
	struct mm_runs runs;           /* pages of a segment that are there, offsets from its start */
	/* restart */
	size_t rec;                    /* index of its record */
	bool missing, made;            /* it is not there; we have made it */
	bool filled;                   /* a queue: its messages are there */
	char *map; size_t map_len;     /* checkpoint: content; restart: attached here */
	bool map_own;                  /* map is a copy of ours */
};
struct sysv_list { struct sysv_obj *v; size_t n; };

/* Everything in the caller's IPC namespace as records (an image's, plus SWAPPED). */
int sysv_scan(struct buf *out, struct err *e);
/* One record into *o (zeroed first; its arrays are owned by o). A list is sorted by kind and id. */
int sysv_parse_obj(const struct rec *rec, struct sysv_obj *o, struct err *e);
void sysv_put_obj(struct buf *out, const struct sysv_obj *o, int (*pid_of)(void *ctx, int pid), void *ctx);
int sysv_parse_list(struct sysv_list *l, const char *text, size_t len, struct err *e);
void sysv_list_free(struct sysv_list *l);
/* In a list that sysv_parse_list made; NULL. */
struct sysv_obj *sysv_find(const struct sysv_list *l, enum sysv_kind kind, int id);
/* Is there a process of that number that can have used o, or has it got the number of one that has ended since? */
bool sysv_alive(const struct sysv_obj *o, int pid);
const char *sysv_describe(const struct sysv_obj *o, char out[96]); /* "shared memory segment 3 (key 0x1234)" */
/* Pages of a mapping of a segment that are there: mincore(2) sees the object. 0, or -1 out of memory. */
int sysv_present(const struct sysv_obj *o, const char *map, size_t len, struct mm_runs *runs);

/* ---- checkpoint ---- */
struct sysv_dump {
	struct sysv_list all;          /* of the namespace */
	size_t nours;
	uint32_t nshm;                 /* segments of the job */
	bool other_ns;                 /* the job's IPC namespace is not ours */
	bool own;                      /* it was made for the job: everything in it belongs to the job */
	struct dproc *first;           /* a living member */
};
/* Runs fn, which adds to out, in the job's IPC namespace: here, or in a child that enters it. */
int sysv_run(struct dump *d, int (*fn)(void *arg, struct buf *out, struct err *e), void *arg, struct buf *out, struct err *e);
bool sysv_is_shm(const struct proc_map *m);            /* a mapping of a segment */
int sysv_check(struct dump *d, struct dproc *p, struct err *e);
/* For the table's entry in sysv_dump.c: what p has to give back at its exit (SEM_UNDO). */
void sysv_undo_check(struct dump *d, struct dproc *p);
int sysv_undo_dump(struct dump *d, struct dproc *p, struct err *e);
int sysv_undo_verify(struct restore *r, struct rproc *p, struct err *e);
int sysv_undo_restore(struct restore *r, struct rproc *p, struct err *e);
/* Is there anything that needs member `ipc`: System V objects, or a POSIX message queue? */
bool sysv_needed(const struct dump *d);
int sysv_dump(struct dump *d, struct buf *out, struct err *e);     /* records of member `ipc` */
int sysv_write_pages(struct dump *d, struct err *e);               /* members sysv_shm_N */
void sysv_free(struct dump *d);
/* What tells one IPC namespace of one boot from all others. */
int sysv_origin(pid_t pid, char boot[64], char ns[64], struct err *e);

/* ---- restart ---- */
struct sysv_restore {
	struct rec_list recs;
	struct sysv_list objs;         /* in the order of the records; segments are numbered from 1 among themselves */
	uint32_t *shm; size_t nshm;    /* index in objs by number - 1 */
	uint64_t temp, temp_len;       /* room in the temp area, an offset from r->temp */
	bool same_boot;                /* the image was made in this namespace, since this boot */
};
int sysv_parse(struct restore *r, struct err *e);      /* before the memory of processes: sizes; r->temp_len */
int sysv_verify(struct restore *r, struct err *e);     /* ids are free or still the job's; nothing is changed */
int sysv_make(struct restore *r, struct err *e);       /* before any process is made */
int sysv_finish(struct restore *r, struct err *e);     /* when all processes are complete */
void sysv_undo_make(struct restore *r);                /* a restart that failed: what was made goes */
void sysv_restore_free(struct restore *r);
const struct sysv_obj *sysv_shm(const struct restore *r, uint32_t number);
/* The restart of an image needs an IPC namespace of its own when it gets other namespaces of its own. */
bool sysv_in_image(const struct image *im);
/* Puts the messages into a queue, which is empty. */
int sysv_send(struct restore *r, struct sysv_obj *o, struct err *e);
/* Who used it last, as far as that can be brought back: for the table's entry. */
int sysv_last_restore(struct restore *r, struct rproc *p, struct err *e);
int sysv_last_late(struct restore *r, struct rproc *p, struct err *e);

#endif
