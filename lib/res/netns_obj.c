/* netns_obj: objects of a network namespace, whatever they are: what is there as records, and what records tell made so.
 *
 * Some of what a namespace has the kernel makes by itself (addresses of lo, routes to what is connected, rules), and a program may have taken
 * it away. So nothing is guessed: what is there is compared with the records, as texts, what they do not have is taken away, what is missing is
 * added, again until nothing changes any more. If both are not the same then, the restart fails and names what differs. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 4, WAIT_MS = 1000, STEP_MS = 2 };

/* ---- what is there ---- */

struct dumping { struct netns *s; const struct nobj *o; struct buf *out; };

static int take(void *arg, const struct nlmsghdr *h, struct err *e)
{
	struct dumping *d = arg;
	const struct nobj *o = d->o;
	const struct rtattr *tb[NL_ATTRS];
	char why[NREC_WHY];
	size_t from;

	if (h->nlmsg_type != o->add)
		return 0;
	if (nl_attrs(h, o->head, tb))
		return err_set(e, EX_FAILED, "malformed answer of the kernel about a record %s", o->type);
	if ((o->skip && o->skip(h, tb)) || (d->s->only && !netns_counts(d->s, o->index ? o->index(h, tb) : 0)))
		return 0;
	rec_begin(d->out, o->type);
	rec_put_u64(d->out, "NS", d->s->id);
	from = d->out->len;
	for (const struct nhead *k = o->heads; k->key; k++) {
		uint32_t v = 0;

		memcpy(&v, (const char *)NLMSG_DATA(h) + k->off, k->size);
		if (k->mask)
			rec_put_hex(d->out, k->key, v & k->mask);
		else
			rec_put_u64(d->out, k->key, v);
	}
	if (!nrec_put(d->out, o->fields, tb, h, o->put, why))
		netns_refuse(d->s, "%s%s: %s is not supported", o->type, buf_failed(d->out) ? "" : d->out->p + from, why);
	rec_end(d->out);
	return 0;
}

int nobj_dump(struct netns *s, const struct nobj *o, struct buf *out, struct err *e)
{
	struct dumping d = { s, o, out };
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	if (!m)
		return err_set(e, EX_FAILED, "out of memory");
	for (const uint8_t *f = o->families; *f; f++) {
		unsigned char head[64] = { *f };
		int rc;

		if (o == &nproxy_obj)
			((struct ndmsg *)(void *)head)->ndm_flags = NTF_PROXY;
		nl_begin(m, o->get, 0, head, o->head);
		rc = nl_dump(&s->nl, m, take, &d, e);
		if (rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT || rc == -EPFNOSUPPORT)
			continue; /* a kernel without that family has nothing of it */
		if (rc < 0 && err_is_set(e))
			return -1;
		errno = -rc;
		if (rc)
			return err_sys(e, "the kernel does not tell its list of records %s", o->type);
	}
	return buf_failed(out) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

int nobj_verify(const struct nobj *o, const struct rec *rec, struct err *e)
{
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	if (!m)
		return err_set(e, EX_FAILED, "out of memory");
	if (nrec_known(rec, o->heads, o->fields, o->own, e) || nobj_build(o, rec, o->add, 0, m, e))
		return -1;
	return 0;
}

/* ---- what should be there ---- */

struct line { char *text; size_t i; bool same; };
struct lines { struct line *v, **sorted; size_t n; };

static void lines_free(struct lines *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].text);
	free(l->v);
	free(l->sorted);
	*l = (struct lines){ 0 };
}
#define AUTO_LINES __attribute__((cleanup(lines_free)))

static int by_text(const void *a, const void *b)
{
	const struct line *const *x = a, *const *y = b;

	return strcmp((*x)->text, (*y)->text);
}

static int lines_of(const struct netns *s, const struct nobj *o, const struct rec_list *list, struct lines *l, struct err *e)
{
	struct netns of = { .id = s->id, .list = list };
	struct rec rec;

	l->v = calloc(list->n + 1, sizeof *l->v);
	l->sorted = calloc(list->n + 1, sizeof(struct line *));
	if (!l->v || !l->sorted)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < list->n; i++) {
		AUTO_BUF struct buf b = BUF_INIT;

		if (!netns_rec(&of, i, o->type, &rec))
			continue;
		nrec_text(&rec, o->loose, &b);
		l->v[l->n] = (struct line){ .text = strdup(buf_str(&b)), .i = i };
		l->sorted[l->n] = &l->v[l->n];
		if (buf_failed(&b) || !l->v[l->n++].text)
			return err_set(e, EX_FAILED, "out of memory");
	}
	qsort(l->sorted, l->n, sizeof(struct line *), by_text);
	return 0;
}

/* Marks those of both that the other has too. True: all. */
static bool match(struct lines *a, struct lines *b)
{
	size_t i = 0, j = 0, same = 0;

	for (size_t k = 0; k < a->n; k++)
		a->v[k].same = false;
	for (size_t k = 0; k < b->n; k++)
		b->v[k].same = false;
	while (i < a->n && j < b->n) {
		int c = strcmp(a->sorted[i]->text, b->sorted[j]->text);

		if (!c) {
			a->sorted[i++]->same = b->sorted[j++]->same = true;
			same++;
		} else if (c < 0) {
			i++;
		} else {
			j++;
		}
	}
	return same == a->n && same == b->n;
}

static int message(const struct nobj *o, const struct rec_list *list, size_t i, uint16_t type, uint16_t flags, struct nlmsg *m, struct err *e)
{
	struct rec rec;

	rec_list_get(list, i, &rec);
	return nobj_build(o, &rec, type, flags, m, e);
}

/* What cannot be taken away shows when both are compared again. */
static int take_away(struct netns *s, const struct nobj *o, const struct rec_list *there, const struct lines *l, struct nlmsg *m, struct err *e)
{
	for (size_t i = l->n; i--;) {
		if (l->v[i].same)
			continue;
		if (message(o, there, l->v[i].i, o->del, 0, m, e))
			return -1;
		nl_do(&s->nl, m);
	}
	return 0;
}

static int add(struct netns *s, const struct nobj *o, size_t i, struct nlmsg *m, struct err *e)
{
	struct rec rec;
	int rc;

	if (message(o, s->list, i, o->add, NLM_F_CREATE | NLM_F_APPEND, m, e))
		return -1;
	rc = nl_do(&s->nl, m);
	if (rc == -EEXIST)
		rc = 0; /* the kernel was first, or it shows when both are compared */
	if (rc || !o->again)
		return rc;
	rec_list_get(s->list, i, &rec);
	rc = o->again(o, &rec, m, e);
	return rc == 1 ? nl_do(&s->nl, m) : rc;
}

/* Those that come to the end of the kernel's list, then those that come to its beginning. */
static void put_in_order(const struct netns *s, const struct nobj *o, const struct lines *l, size_t *order)
{
	size_t from = 0, to = l->n;
	struct rec rec;

	for (size_t i = 0; i < l->n; i++) {
		rec_list_get(s->list, l->v[i].i, &rec);
		order[o->first && o->first(&rec) ? --to : from++] = i;
	}
}

/* One may need another: a gateway its network, a rule its target. What fails is tried again as long as anything succeeds. */
static int add_missing(struct netns *s, const struct nobj *o, struct lines *l, struct nlmsg *m, struct err *e)
{
	AUTO_FREE size_t *order = calloc(l->n + 1, sizeof *order);

	if (!order)
		return err_set(e, EX_FAILED, "out of memory");
	put_in_order(s, o, l, order);
	for (size_t before = SIZE_MAX, left;; before = left) {
		struct err why = ERR_INIT;

		left = 0;
		for (size_t k = 0; k < l->n; k++) {
			size_t i = order[k];
			int rc = l->v[i].same ? 0 : add(s, o, l->v[i].i, m, e);

			if (err_is_set(e))
				return -1;
			l->v[i].same = !rc;
			if (!rc || left++)
				continue;
			errno = -rc;
			err_sys(&why, "%s %s: %s%scannot be made", o->type, l->v[i].text, s->nl.why, *s->nl.why ? ": " : "");
		}
		if (!left)
			return 0;
		if (left == before) {
			*e = why;
			return -1;
		}
	}
}

static void differs(const struct nobj *o, const struct lines *want, const struct lines *there, struct err *e)
{
	for (size_t i = 0; i < want->n; i++)
		if (!want->v[i].same) {
			err_set(e, EX_FAILED, "%s %s: does not come back as it was", o->type, want->v[i].text);
			return;
		}
	for (size_t i = 0; i < there->n; i++)
		if (!there->v[i].same) {
			err_set(e, EX_FAILED, "%s %s: was not there, and cannot be taken away", o->type, there->v[i].text);
			return;
		}
}

static int wait_for(int *waited)
{
	poll(NULL, 0, STEP_MS);
	*waited += STEP_MS;
	return 0;
}

/* Is any missing that comes by itself? */
static bool coming(const struct netns *s, const struct nobj *o, const struct lines *want)
{
	struct rec rec;

	for (size_t i = 0; i < want->n && o->comes; i++) {
		rec_list_get(s->list, want->v[i].i, &rec);
		if (!want->v[i].same && o->comes(&rec))
			return true;
	}
	return false;
}

/* One look and what follows from it. 1: nothing is to be done. */
static int round_of(struct netns *s, const struct nobj *o, struct lines *want, int round, int *waited, struct nlmsg *m, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	AUTO_LINES struct lines there = { 0 };
	struct rec_list list = { 0 };
	int rc = -1;

	if (nobj_dump(s, o, &b, e) || rec_list_parse(&list, buf_str(&b), b.len, NETNS_MAX_RECORDS, e) || lines_of(s, o, &list, &there, e))
		goto out;
	if (match(want, &there))
		rc = 1;
	else if (*waited < WAIT_MS && coming(s, o, want))
		rc = wait_for(waited);
	else if (round == ROUNDS)
		differs(o, want, &there, e);
	else
		rc = take_away(s, o, &list, &there, m, e) || add_missing(s, o, want, m, e) ? -1 : 0;
out:
	rec_list_free(&list);
	return rc;
}

int nobj_sync(struct netns *s, const struct nobj *o, struct err *e)
{
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);
	AUTO_LINES struct lines want = { 0 };
	int rc = 0, waited = 0;

	if (!m)
		return err_set(e, EX_FAILED, "out of memory");
	if (lines_of(s, o, s->list, &want, e))
		return -1;
	for (int i = 0; i <= ROUNDS && !rc;) {
		int before = waited;

		rc = round_of(s, o, &want, i, &waited, m, e);
		i += before == waited;
	}
	return rc == 1 ? 0 : -1;
}
