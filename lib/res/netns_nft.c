/* netns_nft: the rule set of nftables of a network namespace, as nft(8) lists and takes it.
 *
 * Record: TYPE="nftables" NS= TEXT=
 *
 * Whether there is any table the kernel itself is asked (nfnetlink), so that nft is needed only then. Counters and quotas are part of the list; connections that
 * are tracked are not. What iptables-nft made with its own extensions nft lists, but does not take: refused. */
#include "res/netns_int.h"
#include "common/cleanup.h"
#include "job/netlock.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { TEXT_MAX = 4 << 20, SAID = 512 };

/* In a user namespace whose root we are not, a program would lose what we may. */
static void keep_capability(void)
{
	cap_value_t net = CAP_NET_ADMIN;
	cap_t c = cap_get_proc();

	if (c && !cap_set_flag(c, CAP_INHERITABLE, 1, &net, CAP_SET) && !cap_set_proc(c))
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0);
	cap_free(c);
}

/* in: its standard input; what it says goes to out. */
static int child(const char *const *argv, int in, int out)
{
	static char *const env[] = { (char *)"LC_ALL=C", NULL };

	if ((in >= 0 && dup2(in, 0) < 0) || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		return 126;
	keep_capability();
	execve(argv[0], (char *const *)(uintptr_t)argv, env);
	return 126;
}

static int run(const char *const *argv, int in, struct buf *said, struct err *e)
{
	AUTO_FD int out = memfd_create("nft", MFD_CLOEXEC);
	int status;
	pid_t pid = out < 0 ? -1 : fork();

	if (pid < 0)
		return err_sys(e, "cannot run nft");
	if (!pid)
		_exit(child(argv, in, out));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "waitpid");
	if (lseek(out, 0, SEEK_SET) || buf_read_fd(said, out, TEXT_MAX))
		return err_sys(e, "cannot read what nft says");
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	return err_set(e, EX_FAILED, "nft: %.*s", (int)strcspn(buf_str(said), "\n"), said->len ? buf_str(said) : "failed");
}

static int count(void *arg, const struct nlmsghdr *h, struct err *e)
{
	++*(size_t *)arg;
	return 0;
}

static bool tables(struct err *e)
{
	AUTO_NL struct nl n = NL_CLOSED;
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);
	struct nfgenmsg head = { .nfgen_family = 0, .version = NFNETLINK_V0 };
	size_t found = 0;

	if (!m || nl_open(&n, NETLINK_NETFILTER, NULL))
		return false; /* a kernel without it has none */
	nl_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, &head, sizeof head);
	nl_dump(&n, m, count, &found, e);
	return found;
}

int nnft_dump(struct netns *s, struct buf *out, struct err *e)
{
	const char *nft = netlock_nft(), *const argv[] = { nft, "-n", "list", "ruleset", NULL };
	AUTO_BUF struct buf text = BUF_INIT;
	struct err why = ERR_INIT;

	if (!tables(e))
		return 0;
	if (!nft)
		netns_refuse(s, "tables of nftables: the program nft, which lists them, is not installed");
	else if (run(argv, -1, &text, &why))
		netns_refuse(s, "tables of nftables: %s", why.msg);
	else if (strstr(buf_str(&text), "xt target ") || strstr(buf_str(&text), "xt match "))
		netns_refuse(s, "tables of nftables: rules that iptables made with extensions of its own are not supported");
	else if (strstr(buf_str(&text), "flags owner") || strstr(buf_str(&text), "flags dormant,owner"))
		netns_refuse(s, "tables of nftables: one belongs to a program that runs");
	if (!nft || err_is_set(&why))
		return 0;
	rec_begin(out, "nftables");
	rec_put_u64(out, "NS", s->id);
	rec_put_strn(out, "TEXT", text.p ? text.p : "", text.len);
	rec_end(out);
	return 0;
}

/* A statement of that name; what stands in comments is none. */
static bool includes(const char *text)
{
	for (const char *c = text; (c = strstr(c, "include")); c++) {
		const char *b = c;

		while (b > text && (b[-1] == ' ' || b[-1] == '\t'))
			b--;
		if (b == text || b[-1] == '\n' || b[-1] == ';' || b[-1] == '{' || b[-1] == '}')
			return true;
	}
	return false;
}

int nnft_verify(const struct rec *rec, struct err *e)
{
	static const char *const keys[] = { "TEXT", NULL };
	const char *text;

	if (rec_str(rec, "TEXT", &text, e) || nrec_known(rec, NULL, NULL, keys, e))
		return -1;
	if (strlen(text) > TEXT_MAX)
		return err_set(e, EX_BAD_IMAGE, "line %zu: TEXT is too long", rec->line);
	/* Files of this machine are none of the image's business. */
	if (includes(text))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a rule set that includes others", rec->line);
	return netlock_possible() ? 0 : err_set(e, EX_MISFIT, "the job's rules of nftables need the program nft, which is not installed");
}

int nnft_apply(struct netns *s, struct err *e)
{
	const char *const argv[] = { netlock_nft(), "-f", "-", NULL };
	struct rec rec;

	for (size_t i = 0; i < s->list->n; i++) {
		AUTO_FD int in = -1;
		AUTO_BUF struct buf said = BUF_INIT;
		const char *text;

		if (!netns_rec(s, i, "nftables", &rec))
			continue;
		text = rec_find(&rec, "TEXT");
		in = memfd_create("nft", MFD_CLOEXEC);
		if (!argv[0] || in < 0 || write(in, text, strlen(text)) != (ssize_t)strlen(text) || lseek(in, 0, SEEK_SET))
			return err_sys(e, "cannot write commands for nft");
		if (run(argv, in, &said, e))
			return -1;
	}
	return 0;
}
