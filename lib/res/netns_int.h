/* netns_int: what the files of netns.h share: messages of rtnetlink(7), and tables that turn them into records and back.
 *
 * An object of the kernel (address, route, rule, neighbour) is a struct nobj: the fields of its fixed header, and its attributes, each with the
 * key that it has in a record. Dumping writes what is there in the order of the tables, so that the same object is always the same text;
 * building goes the same way back. What stands in no table is refused by its number, unless it is all zero: options of newer kernels are off then. */
#ifndef XOS_NETNS_INT_H
#define XOS_NETNS_INT_H

#include "res/netns.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* ---- netns_nl.c ---- */
enum { NL_ROOM = 32 << 10, NL_DUMP_MAX = 256 << 20, NL_ATTRS = 128, NL_WHY = 160 };

/* A netlink socket: it stays in the network namespace that it was made in. */
struct nl { int fd; uint32_t seq; char why[NL_WHY]; /* what the kernel said to the last error; "" */ };
struct nlmsg { union { struct nlmsghdr h; char b[NL_ROOM]; }; bool full; };

int nl_open(struct nl *n, int protocol, struct err *e);   /* NETLINK_ROUTE, ...; -1 with e */
void nl_close(struct nl *n);
#define AUTO_NL __attribute__((cleanup(nl_close)))
#define NL_CLOSED { .fd = -1 }
/* A request with its fixed header of n bytes. */
void nl_begin(struct nlmsg *m, uint16_t type, uint16_t flags, const void *head, size_t n);
void nl_put(struct nlmsg *m, uint16_t type, const void *p, size_t n);
static inline void nl_put_u32(struct nlmsg *m, uint16_t type, uint32_t v) { nl_put(m, type, &v, sizeof v); }
size_t nl_nest(struct nlmsg *m, uint16_t type);           /* where it begins, for nl_nest_end */
void nl_nest_end(struct nlmsg *m, size_t at);
/* Sends it and waits for the acknowledgement: 0, or -errno of the kernel or of the socket. */
int nl_do(struct nl *n, struct nlmsg *m);
/* The same for a question with one answer (RTM_GETLINK, RTM_GETNSID), which is put into m. */
int nl_get(struct nl *n, struct nlmsg *m);
typedef int nl_take(void *arg, const struct nlmsghdr *h, struct err *e);
/* Asks for all, and when the answer is complete and consistent gives each message to take; not 0 ends it and is returned. -errno: the kernel
 * refuses (nothing was given to take; e is empty). */
int nl_dump(struct nl *n, struct nlmsg *m, nl_take *take, void *arg, struct err *e);
/* Attributes behind the header of head bytes: tb[type], types of NL_ATTRS and more are left out. -1: malformed. */
int nl_attrs(const struct nlmsghdr *h, size_t head, const struct rtattr *tb[NL_ATTRS]);
int nl_nested(const struct rtattr *a, const struct rtattr *tb[NL_ATTRS]);
uint32_t nl_u32(const struct rtattr *a); /* 0 when it is NULL or too short */

/* ---- netns_rec.c ---- */
enum nform {
	NF_U8, NF_U16, NF_U32, NF_U64, NF_S32, NF_BE16,
	NF_HEX,     /* u32, written as 0x */
	NF_IP,      /* 4 or 16 bytes, as text */
	NF_STR,     /* text below max bytes */
	NF_BIN,     /* up to max bytes */
	NF_FLAG,    /* no content */
	NF_DROP,    /* informs only, or follows from something else */
	NF_OWN,     /* the object's own functions */
};
struct nfield { uint16_t type; uint8_t form; uint16_t max; const char *key; };
struct nhead { const char *key; uint8_t off, size; uint32_t mask; /* bits that count, 0: all; then it is hexadecimal */ };
enum { NF_TEXT_MAX = 256, NF_BYTES_MAX = 256 };

struct netns;
/* NF_OWN: adds its fields to the open record; what of it is not supported, NULL: all is. */
typedef const char *nown_put(struct buf *out, const struct nlmsghdr *h, const struct rtattr *a);
struct nobj {
	const char *type;                  /* of its records */
	uint16_t get, add, del, head;      /* RTM_..., length of the fixed header */
	const uint8_t *families;           /* asked one after the other, 0-terminated */
	const struct nhead *heads;         /* terminated by an empty key, as fields */
	const struct nfield *fields;
	const char *const *own, *const *loose; /* keys that own functions read; of all keys those that are not compared. NULL-terminated, or NULL */
	/* Is it none of what records tell (a cache entry)? */
	bool (*skip)(const struct nlmsghdr *h, const struct rtattr *const tb[]);
	nown_put *put;                     /* of NF_OWN */
	/* Adds those to m, behind all others; may change the header. */
	int (*build)(const struct rec *rec, struct nlmsg *m, struct err *e);
	/* After it was added: makes a second message that completes it; 1: send it, 0: there is none, -1: e. */
	int (*again)(const struct nobj *o, const struct rec *rec, struct nlmsg *m, struct err *e);
	/* One that the kernel puts before its like when it is new: the last one is added first. */
	bool (*first)(const struct rec *rec);
	/* One that the kernel makes by itself, some moments later: it is given these before it is added. */
	bool (*comes)(const struct rec *rec);
	uint32_t (*index)(const struct nlmsghdr *h, const struct rtattr *const tb[]); /* of the link that it belongs to */
};
/* Fields of one list of attributes. own: NULL where there is no NF_OWN. false: something is not supported, which why names. */
enum { NREC_WHY = 96 };
bool nrec_put(struct buf *out, const struct nfield *fields, const struct rtattr *const tb[], const struct nlmsghdr *h, nown_put *own, char why[NREC_WHY]);
/* The other way: those keys that are in rec. */
int nrec_build(const struct rec *rec, const struct nfield *fields, struct nlmsg *m, struct err *e);
int nrec_field(const struct rec *rec, const struct nfield *f, struct nlmsg *m, struct err *e); /* one; absent: nothing */
/* A whole message of that object. */
int nobj_build(const struct nobj *o, const struct rec *rec, uint16_t type, uint16_t flags, struct nlmsg *m, struct err *e);
/* A key of the record that is none of these, TYPE, and NS: -1 with e. extra may be NULL. */
int nrec_known(const struct rec *rec, const struct nhead *heads, const struct nfield *fields, const char *const *extra, struct err *e);
bool nkey_in(const char *key, const char *const *list);
/* The record as text, without TYPE, NS and the keys of `without` (may be NULL). */
void nrec_text(const struct rec *rec, const char *const *without, struct buf *out);
bool naddr_parse(const char *text, void *out, size_t *n);   /* 4 or 16 bytes */
const char *naddr_text(const void *p, size_t n, char out[64]); /* "" for another length */

/* ---- one namespace ---- */
struct netns {
	uint32_t id;
	struct nl nl;                          /* NETLINK_ROUTE in it */
	struct buf *out, *refusals;            /* checkpoint */
	const struct netns_known *known; size_t nknown;
	int32_t *nsids;                        /* parallel to known: what this namespace calls them; -1: nothing. NULL: not asked yet */
	const struct rec_list *list;           /* restart: records, with those of others maybe */
	const struct netns_recs *recs;         /* of all namespaces; NULL: list has all that there are */
	const uint32_t *only; size_t nonly;    /* NETNS_HOME: links whose things count; NULL: all */
	bool built;                            /* netns_build did all of it */
};
#define NETNS_INIT(i) { .id = (i), .nl = NL_CLOSED }
void netns_close(struct netns *s);
#define AUTO_NETNS __attribute__((cleanup(netns_close)))
void netns_refuse(struct netns *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What this namespace calls those that the job has. Asked only where a link has its other end elsewhere: it is a question for each of them. */
int netns_find_nsids(struct netns *s);
bool netns_counts(const struct netns *s, uint32_t index);
/* Does record i of s->list belong to s, and is it of that type? Then it is in *rec. */
bool netns_rec(const struct netns *s, size_t i, const char *type, struct rec *rec);
int netns_u32(const struct rec *rec, const char *key, uint32_t dflt, uint32_t *out, struct err *e);

/* netns_recs.c */
bool netns_link_record(const char *type);      /* link, linkdata, portdata, lower */
/* A part of all records, with all of that namespace. */
const struct rec_list *netns_recs_of(const struct netns_recs *t, uint32_t ns);
/* The first record of that type with that INDEX. */
bool netns_recs_link(const struct netns_recs *t, uint32_t ns, const char *type, uint32_t index, struct rec *rec);
/* How many links have that name, how many pairs have that other end in NETNS_HOME: 0, 1, or 2 for more. */
int netns_recs_named(const struct netns_recs *t, uint32_t ns, const char *name);
int netns_recs_ends(const struct netns_recs *t, uint32_t index);

/* netns_obj.c: objects as they are */
int nobj_dump(struct netns *s, const struct nobj *o, struct buf *out, struct err *e);
int nobj_verify(const struct nobj *o, const struct rec *rec, struct err *e);
/* Makes what is there what the records tell: takes away what they do not have, adds what is missing, and looks whether it came out so. */
int nobj_sync(struct netns *s, const struct nobj *o, struct err *e);

extern const struct nobj naddr_obj, nroute_obj, nrule_obj, nneigh_obj, nproxy_obj, nfdb_obj;
extern const struct nobj *const netns_objs[];  /* in the order of building, NULL-terminated */

/* ---- netns_link.c: links as records ---- */
struct nkind {
	const char *name;
	const struct nfield *data;     /* of IFLA_INFO_DATA; NULL: nothing */
	bool birth;                    /* data is given when it is made, not afterwards */
	bool lower;                    /* it lies on another link, LINK */
};
extern const struct nkind nlink_kinds[];           /* terminated by an empty name */
extern const struct nfield nlink_fields[], nlink_port[];
extern const char *const nlink_own[];
const struct nkind *nlink_kind(const char *name);  /* NULL: not supported */
bool nlink_born(const char *kind, const char *name); /* one that each namespace has from birth */
bool nlink_name_ok(const char *name);
/* Appends the records link, linkdata, portdata of what counts. */
int nlink_dump(struct netns *s, struct buf *out, struct err *e);
/* The record of that type with that INDEX. */
bool nlink_find(const struct netns *s, const char *type, uint32_t index, struct rec *rec);
int nlink_verify(const struct netns *s, const struct rec *rec, struct err *e);

/* ---- netns_make.c: links are made. Several namespaces at once, because links connect them ---- */
struct nworld {
	struct netns *v; size_t n;             /* those that are built now */
	int (*nsfd)(void *ctx, uint32_t id); void *ctx; /* NULL: there are no others */
};
/* All links, down. */
int nlink_make(struct nworld *w, struct err *e);
/* Their options, ports of bridges. */
int nlink_options(struct netns *s, struct err *e);
uint32_t nlink_named(struct netns *s, const char *name); /* its number, 0: none */
/* Up, as far as they were. IPv6 makes no address of its own for them. */
int nlink_up(struct netns *s, struct err *e);
/* Waits (2 s at most) until those that had a carrier have it again. */
int nlink_wait(struct netns *s, struct err *e);
/* Last of all: what would have hindered. Then all is compared with the records. */
int nlink_settle(struct netns *s, struct err *e);

/* ---- netns_sysctl.c: the process is in the namespace ---- */
/* names: only those of these interfaces, NULL-terminated; NULL: all. */
int nsysctl_dump(struct netns *s, const char *const *names, struct buf *out, struct err *e);
int nsysctl_verify(const struct rec *rec, struct err *e);
enum { NSYSCTL_NAME = 256 };
bool nsysctl_link(const char *path, char name[NSYSCTL_NAME]); /* the interface that it is about, but for `all` and `default` */
int nsysctl_apply(struct netns *s, struct err *e);

/* ---- netns_nft.c: the process is in the namespace ---- */
int nnft_dump(struct netns *s, struct buf *out, struct err *e);
int nnft_verify(const struct rec *rec, struct err *e);
int nnft_apply(struct netns *s, struct err *e);

/* ---- netns_refuse.c: what is there and not supported ---- */
int nrefuse_dump(struct netns *s, struct err *e);

#endif
