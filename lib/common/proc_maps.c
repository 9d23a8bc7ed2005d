/* proc_maps: /proc/PID/maps and smaps. proc(5), Documentation/filesystems/proc.rst. */
#include "common/proc_int.h"
#include "common/cleanup.h"

#include <string.h>

/* 65530 mappings (vm.max_map_count) of long paths and an smaps block of a KiB fit. */
enum { MAX_MAPS = 512 << 20 };

static int hex(char **sp, char stop, uint64_t *out)
{
	char *s = *sp;
	uint64_t v = 0;

	for (; *s != stop; s++) {
		unsigned d = (unsigned)*s - '0';

		if (d > 9) {
			d = (unsigned)*s - 'a';
			if (d > 5)
				return -1;
			d += 10;
		}
		if (v >> 60)
			return -1;
		v = v << 4 | d;
	}
	if (s == *sp)
		return -1;
	*out = v;
	*sp = s + 1;
	return 0;
}

static int dec(char **sp, uint64_t *out)
{
	char *s = *sp;
	uint64_t v = 0;

	for (; *s >= '0' && *s <= '9'; s++) {
		unsigned d = (unsigned)(*s - '0');

		if (v > (UINT64_MAX - d) / 10)
			return -1;
		v = v * 10 + d;
	}
	if (s == *sp)
		return -1;
	*out = v;
	*sp = s;
	return 0;
}

/* Copies the name and undoes \012, the only escape that the kernel makes here. */
static int map_path(struct proc_map *m, const char *s, size_t n)
{
	static const char deleted[] = " (deleted)";
	const size_t dlen = sizeof(deleted) - 1;
	const char *end, *bs;
	char *to;

	if (n > dlen && memcmp(s + n - dlen, deleted, dlen) == 0) {
		m->deleted = true;
		n -= dlen;
	}
	end = s + n;
	m->path = to = malloc(n + 1);
	if (!to)
		return -1;
	while ((bs = memchr(s, '\\', (size_t)(end - s)))) {
		size_t run = (size_t)(bs - s);

		memcpy(to, s, run);
		to += run;
		if (end - bs >= 4 && memcmp(bs, "\\012", 4) == 0) {
			*to++ = '\n';
			s = bs + 4;
		} else {
			*to++ = '\\';
			s = bs + 1;
		}
	}
	memcpy(to, s, (size_t)(end - s));
	to[end - s] = '\0';
	return 0;
}

static bool one_of(char c, char yes, bool *out)
{
	*out = c == yes;
	return c == yes || c == '-';
}

/* START-END rwxp OFFSET MAJOR:MINOR INODE   PATH; the line ends with a zero byte at `end`.
 * 0, -1 malformed, -2 out of memory. */
static int map_line(struct proc_map *m, char *p, char *end)
{
	uint64_t major, minor;

	if (hex(&p, '-', &m->start) < 0 || hex(&p, ' ', &m->end) < 0 || m->end <= m->start)
		return -1;
	if (end - p < 5 || !one_of(p[0], 'r', &m->r) || !one_of(p[1], 'w', &m->w) ||
	    !one_of(p[2], 'x', &m->x) || (p[3] != 'p' && p[3] != 's') || p[4] != ' ')
		return -1;
	m->shared = p[3] == 's';
	p += 5;
	if (hex(&p, ' ', &m->offset) < 0 || hex(&p, ':', &major) < 0 || hex(&p, ' ', &minor) < 0 ||
	    major > UINT32_MAX || minor > UINT32_MAX || dec(&p, &m->inode) < 0)
		return -1;
	m->dev_major = (uint32_t)major;
	m->dev_minor = (uint32_t)minor;
	if (*p && *p != ' ')
		return -1;
	while (*p == ' ')
		p++;
	return map_path(m, p, (size_t)(end - p)) < 0 ? -2 : 0;
}

static int kb_line(char *p, uint64_t *out)
{
	while (*p == ' ')
		p++;
	return dec(&p, out);
}

static bool prefixed(char **p, const char *key, size_t n)
{
	if (strncmp(*p, key, n) != 0)
		return false;
	*p += n;
	return true;
}
#define KEY(p, s) prefixed(&(p), s, sizeof(s) - 1)

/* One of the lines that smaps puts behind each mapping. Unknown ones are passed over. */
static int smaps_line(struct proc_map *m, char *p, char *end)
{
	size_t n;

	switch (*p) {
	case 'A':
		return KEY(p, "Anonymous:") ? kb_line(p, &m->anon_kb) : 0;
	case 'K':
		return KEY(p, "KernelPageSize:") ? kb_line(p, &m->page_kb) : 0;
	case 'P':
		return KEY(p, "Private_Dirty:") ? kb_line(p, &m->private_dirty_kb) : 0;
	case 'R':
		return KEY(p, "Rss:") ? kb_line(p, &m->rss_kb) : 0;
	case 'S':
		return KEY(p, "Swap:") ? kb_line(p, &m->swap_kb) : 0;
	case 'V':
		if (!KEY(p, "VmFlags:"))
			return 0;
		n = (size_t)(end - p);
		/* " rd ex mr mw me ": old kernels leave the last blank out. */
		if (n + 2 > sizeof(m->vmflags))
			return -1;
		memcpy(m->vmflags, p, n);
		if (n && p[n - 1] != ' ')
			m->vmflags[n++] = ' ';
		m->vmflags[n] = '\0';
		return 0;
	default:
		return 0;
	}
}

static int map_add(struct proc_maps *m, size_t *cap, struct proc_map **out)
{
	if (m->n == *cap) {
		size_t c = *cap ? 2 * *cap : 64;
		struct proc_map *v = realloc(m->v, c * sizeof(*v));

		if (!v)
			return -1;
		m->v = v;
		*cap = c;
	}
	*out = &m->v[m->n++];
	memset(*out, 0, sizeof(**out));
	return 0;
}

static int no_memory(struct proc_maps *m, struct err *e)
{
	proc_maps_free(m);
	errno = ENOMEM;
	return err_sys(e, "maps");
}

int proc_maps_parse(struct proc_maps *m, char *text, bool smaps, struct err *e)
{
	struct proc_map *cur = NULL;
	size_t cap = 0, line = 0;
	char *p = text, *end;
	int rc;

	*m = (struct proc_maps){ 0 };
	for (; *p; p = end) {
		char *nl = strchr(p, '\n');

		line++;
		end = nl ? nl + 1 : p + strlen(p);
		if (nl)
			*nl = '\0';
		if (smaps && *p >= 'A' && *p <= 'Z') {
			rc = cur ? smaps_line(cur, p, nl ? nl : end) : -1;
		} else {
			if (map_add(m, &cap, &cur) < 0)
				return no_memory(m, e);
			rc = map_line(cur, p, nl ? nl : end);
		}
		if (rc == -2)
			return no_memory(m, e);
		if (rc < 0) {
			proc_maps_free(m);
			return err_set(e, EX_FAILED, "maps: line %zu is malformed", line);
		}
	}
	return 0;
}

int proc_maps_read(struct proc_maps *m, pid_t pid, bool smaps, struct err *e)
{
	const char *name = smaps ? "smaps" : "maps";
	AUTO_BUF struct buf b = BUF_INIT;
	char none[1] = "";

	*m = (struct proc_maps){ 0 };
	if (proc_read(&b, pid, name, MAX_MAPS) < 0)
		return proc_fail(e, pid, name);
	if (proc_maps_parse(m, b.p ? b.p : none, smaps, e) < 0)
		return err_prefix(e, "pid %d", (int)pid);
	return 0;
}

void proc_maps_free(struct proc_maps *m)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		free(m->v[i].path);
	free(m->v);
	*m = (struct proc_maps){ 0 };
}

bool proc_map_flag(const struct proc_map *m, const char *two)
{
	const char *p = m->vmflags;

	for (; *p; p++)
		if (p[0] == ' ' && p[1] == two[0] && p[2] == two[1] && p[3] == ' ')
			return true;
	return false;
}
