/* aio: contexts of io_setup(2), see aio.c (what is saved), aio_probe.c (is it idle?) and aio_restore.c. */
#ifndef XOS_AIO_H
#define XOS_AIO_H

#include "res/mm.h"
#include "res/res.h"

/* The head of a ring, which is mapped in the process; nr events follow. Its address is the context's id. */
struct aio_head { uint32_t id, nr, head, tail, magic, compat, incompat, header_length; };
struct aio_event { uint64_t data, obj; int64_t res, res2; };
struct aio_request { /* struct iocb */
	uint64_t data;
	uint32_t key, rw_flags;
	uint16_t opcode;
	int16_t priority;
	uint32_t fd;
	uint64_t buf, bytes;
	int64_t offset;
	uint64_t reserved;
	uint32_t flags, resfd;
};
enum { AIO_MAGIC = (int)0xa10a10a1, AIO_PREAD = 0, AIO_RINGS_MAX = 1024, AIO_BYTES_MAX = 4 << 20 };
_Static_assert(sizeof(struct aio_head) == 32 && sizeof(struct aio_event) == 32 && sizeof(struct aio_request) == 64, "aio_abi.h");

/* How many events a ring of that many bytes has. */
static inline uint32_t aio_events(uint64_t bytes) { return (uint32_t)((bytes - sizeof(struct aio_head)) / sizeof(struct aio_event)); }
static inline uint32_t aio_unread(const struct aio_head *h) { return (h->tail + h->nr - h->head) % h->nr; }
/* What io_setup(2) must be asked for so that the ring has that many events; 0: nothing makes such a one here. */
uint32_t aio_wanted(uint32_t events);
/* A context of our own with so many events; 0 with errno. */
uint64_t aio_own(uint32_t events);

/* How many requests of the context at addr are in flight. -1: e is filled. p->rem at work; all processes of the job stand. */
int aio_in_flight(struct dump *d, struct dproc *p, uint64_t addr, uint32_t events, uint32_t *n, struct err *e);
int aio_verify(struct restore *r, struct rproc *p, struct err *e);
int aio_restore(struct restore *r, struct rproc *p, struct err *e);

#endif
