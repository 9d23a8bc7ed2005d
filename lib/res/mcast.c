#include "res/mcast.h"
#include "common/cleanup.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { SOURCES_MAX = 1024, GROUPS_MAX = 4096, PROC_MAX = 1 << 20 };

union filter { struct group_filter f; char room[GROUP_FILTER_SIZE(SOURCES_MAX)]; };

static void put_address(struct buf *b, const struct sockaddr_storage *a)
{
	char ip[INET6_ADDRSTRLEN];
	const void *p = a->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)a)->sin_addr :
						  (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr;

	inet_ntop(a->ss_family, p, ip, sizeof ip);
	for (char *c = ip; *c; c++)
		buf_addc(b, *c == ':' ? ';' : *c);
}

static void put_group(struct buf *b, const char *device, const struct group_filter *g)
{
	buf_printf(b, "%s%s:", b->len ? " " : "", device);
	put_address(b, &g->gf_group);
	buf_printf(b, ":%s", g->gf_fmode == MCAST_INCLUDE ? "include" : "exclude");
	for (size_t i = 0; i < g->gf_numsrc; i++) {
		buf_addc(b, i ? ',' : ':');
		put_address(b, &g->gf_slist[i]);
	}
}

/* Is the socket in that group? Then it is put. */
static int ask(struct dump *d, const struct dfile *f, struct buf *b, const char *device, const struct sockaddr_storage *group, struct err *e)
{
	bool four = group->ss_family == AF_INET;
	union filter *x = calloc(1, sizeof *x);
	socklen_t n = sizeof *x;

	(void)d;
	if (!x)
		return err_set(e, EX_FAILED, "out of memory");
	x->f.gf_interface = sock_diag_index(device);
	x->f.gf_group = *group;
	x->f.gf_numsrc = SOURCES_MAX;
	if (x->f.gf_interface && !getsockopt(f->lfd, four ? SOL_IP : SOL_IPV6, MCAST_MSFILTER, x, &n)) {
		if (x->f.gf_numsrc > SOURCES_MAX) {
			err_set(e, EX_CANNOT_CKPT, "fd %d: more than %d sources of a multicast group", f->fd, SOURCES_MAX);
			free(x);
			return -1;
		}
		/* Including nobody is being in no group. */
		if (x->f.gf_fmode != MCAST_INCLUDE || x->f.gf_numsrc)
			put_group(b, device, &x->f);
	}
	free(x);
	return 0;
}

/* "1	lo        :     1      V3" and below it "				010000E0     1 0:00000000		0" */
static int ask_four(struct dump *d, const struct dfile *f, struct buf *b, char *text, struct err *e)
{
	char device[IFNAMSIZ] = "", *save = NULL;

	strtok_r(text, "\n", &save);
	for (char *line; (line = strtok_r(NULL, "\n", &save));) {
		struct sockaddr_storage a = { .ss_family = AF_INET };
		unsigned address;

		if (line[0] != '\t' && line[0] != ' ')
			sscanf(line, "%*u %15[^ \t:]", device);
		else if (sscanf(line, " %8x", &address) == 1) {
			((struct sockaddr_in *)&a)->sin_addr.s_addr = address;
			if (ask(d, f, b, device, &a, e))
				return -1;
		}
	}
	return 0;
}

/* "1    lo              ff020000000000000000000000000001     1 0000000C 0" */
static int ask_six(struct dump *d, const struct dfile *f, struct buf *b, char *text, struct err *e)
{
	char device[IFNAMSIZ], hex[33], *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct sockaddr_storage a = { .ss_family = AF_INET6 };

		if (sscanf(line, "%*u %15s %32s", device, hex) != 2 || strlen(hex) != 32)
			continue;
		for (int i = 0; i < 16; i++) {
			unsigned v = 0;
			sscanf(hex + 2 * i, "%2x", &v);
			((struct sockaddr_in6 *)&a)->sin6_addr.s6_addr[i] = (unsigned char)v;
		}
		if (ask(d, f, b, device, &a, e))
			return -1;
	}
	return 0;
}

int mcast_dump(struct dump *d, const struct dfile *f, int family, struct err *e)
{
	AUTO_BUF struct buf groups = BUF_INIT;
	AUTO_BUF struct buf four = BUF_INIT;
	AUTO_BUF struct buf six = BUF_INIT;

	if (!sock_proc("/proc/self/net/igmp", &four, PROC_MAX) && ask_four(d, f, &groups, four.p ? four.p : (char[]){ "" }, e))
		return -1;
	if (family == AF_INET6 && !sock_proc("/proc/self/net/igmp6", &six, PROC_MAX) && ask_six(d, f, &groups, six.p ? six.p : (char[]){ "" }, e))
		return -1;
	if (groups.len)
		rec_put_str(&d->files_out, "GROUPS", buf_str(&groups));
	d->files_out.failed |= buf_failed(&groups);
	return 0;
}

/* ---- restart ---- */

static int get_address(const char *text, struct sockaddr_storage *a)
{
	char ip[INET6_ADDRSTRLEN];

	if (strlen(text) >= sizeof ip)
		return -1;
	strcpy(ip, text);
	for (char *c = ip; *c; c++)
		if (*c == ';')
			*c = ':';
	memset(a, 0, sizeof *a);
	a->ss_family = strchr(ip, ':') ? AF_INET6 : AF_INET;
	return inet_pton(a->ss_family, ip, a->ss_family == AF_INET ? (void *)&((struct sockaddr_in *)a)->sin_addr :
								      (void *)&((struct sockaddr_in6 *)a)->sin6_addr) == 1 ? 0 : -1;
}

/* group: "INTERFACE:ADDRESS:MODE[:SOURCE,...]", taken apart. */
static int parse(char *group, int family, char **device, struct group_filter *g)
{
	char *part[4] = { NULL }, *save = NULL, *comma = NULL;
	size_t n = 0;

	for (char *c = strtok_r(group, ":", &save); c && n < 4; c = strtok_r(NULL, ":", &save))
		part[n++] = c;
	if (n < 3 || strlen(part[0]) >= IFNAMSIZ || get_address(part[1], &g->gf_group) || (family == AF_INET && g->gf_group.ss_family != AF_INET))
		return -1;
	*device = part[0];
	g->gf_fmode = !strcmp(part[2], "include") ? MCAST_INCLUDE : MCAST_EXCLUDE;
	if (g->gf_fmode == MCAST_EXCLUDE && strcmp(part[2], "exclude"))
		return -1;
	g->gf_numsrc = 0;
	for (char *c = n == 4 ? strtok_r(part[3], ",", &comma) : NULL; c; c = strtok_r(NULL, ",", &comma))
		if (g->gf_numsrc == SOURCES_MAX || get_address(c, &g->gf_slist[g->gf_numsrc++]))
			return -1;
	return 0;
}

static int join(int fd, const char *device, struct group_filter *g, struct err *e)
{
	bool four = g->gf_group.ss_family == AF_INET;
	struct group_req req = { .gr_interface = sock_diag_index(device), .gr_group = g->gf_group };

	if (!req.gr_interface)
		return err_set(e, EX_MISFIT, "this node has no network interface %s, on which a socket was in a multicast group", device);
	g->gf_interface = req.gr_interface;
	/* Joining is excluding nobody; the filter comes after it. */
	if (setsockopt(fd, four ? SOL_IP : SOL_IPV6, MCAST_JOIN_GROUP, &req, sizeof req))
		return err_sys(e, "cannot join a multicast group on %s", device);
	if ((g->gf_fmode == MCAST_INCLUDE || g->gf_numsrc) &&
	    setsockopt(fd, four ? SOL_IP : SOL_IPV6, MCAST_MSFILTER, g, (socklen_t)GROUP_FILTER_SIZE(g->gf_numsrc)))
		return err_sys(e, "cannot choose the sources of a multicast group on %s", device);
	return 0;
}

int mcast_set(const struct rec *rec, int fd, int family, struct err *e)
{
	const char *text = rec_find(rec, "GROUPS");
	AUTO_FREE char *copy = text ? strdup(text) : NULL;
	AUTO_FREE union filter *x = text ? calloc(1, sizeof *x) : NULL;
	char *save = NULL, *device;
	size_t n = 0;

	if (!text)
		return 0;
	if (!copy || !x)
		return err_set(e, EX_FAILED, "out of memory");
	for (char *g = strtok_r(copy, " ", &save); g; g = strtok_r(NULL, " ", &save)) {
		if (n++ == GROUPS_MAX || parse(g, family, &device, &x->f))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed GROUPS", rec->line);
		if (fd >= 0 && join(fd, device, &x->f, e))
			return -1;
	}
	return 0;
}
