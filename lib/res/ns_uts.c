/* ns_uts: host name and NIS domain name, uts_namespaces(7). Fields: HOSTNAME= DOMAINNAME=. */
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <string.h>
#include <sys/utsname.h>

static int read_names(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct utsname u;

	(void)ctx;
	(void)give;
	if (uname(&u))
		return err_sys(e, "uname");
	buf_add(answer, &u, sizeof u);
	return 0;
}

static int uts_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct ns_job job = { .fn = read_names, .ctx = NULL };
	struct ns_place at;
	struct utsname u;

	ns_place_of(d, n, &at);
	if (ns_run(&at, &job, &b, NULL, e))
		return -1;
	memcpy(&u, buf_str(&b), b.len < sizeof u ? b.len : sizeof u);
	rec_put_str(out, "HOSTNAME", u.nodename);
	rec_put_str(out, "DOMAINNAME", u.domainname);
	return 0;
}

static int get(const struct rns *n, const char **host, const char **domain, struct err *e)
{
	if (rec_str(&n->rec, "HOSTNAME", host, e) || rec_str(&n->rec, "DOMAINNAME", domain, e))
		return -1;
	return strlen(*host) > 64 || strlen(*domain) > 64 ? err_set(e, EX_BAD_IMAGE, "line %zu: a name is too long", n->rec.line) : 0;
}

static int uts_verify(struct restore *r, struct rns *n, struct err *e)
{
	const char *host, *domain;

	(void)r;
	return get(n, &host, &domain, e);
}

static int uts_build(struct restore *r, struct rns *n, struct err *e)
{
	const char *host, *domain;

	(void)r;
	if (get(n, &host, &domain, e))
		return -1;
	return sethostname(host, strlen(host)) || setdomainname(domain, strlen(domain)) ? err_sys(e, "cannot set the host name") : 0;
}

const struct ns_ops ns_uts_ops = { .kind = NSK_UTS, .what = "UTS", .dump = uts_dump, .verify = uts_verify, .build = uts_build };
