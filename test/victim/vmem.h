/* vmem: what the memory victims share: patterns, a look into smaps, and the whole map before and after. */
#ifndef XOS_VMEM_H
#define XOS_VMEM_H

#include "victim.h"

#include <stdint.h>
#include <sys/mman.h>

enum { VM_PAGE = 4096, VM_MAX_AREAS = 512 };

static inline uint64_t vm_word(uint64_t seed, uint64_t i)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + i * 0xbf58476d1ce4e5b9ull;

	x ^= x >> 31;
	return x * 0x94d049bb133111ebull;
}
static inline void vm_fill(void *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n / 8; i++)
		((uint64_t *)p)[i] = vm_word(seed, i);
}
static inline void vm_check(const char *what, const void *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n / 8; i++)
		if (((const uint64_t *)p)[i] != vm_word(seed, i))
			victim_fail("%s: byte %zu of %zu is wrong", what, i * 8, n);
}
static inline void vm_zero(const char *what, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((const char *)p)[i])
			victim_fail("%s: byte %zu of %zu is not zero", what, i, n);
}

/* Reads a file of /proc without the heap, which must not change while maps are compared. */
static inline size_t vm_slurp(const char *path, char *buf, size_t n)
{
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t k;

	if (fd < 0)
		victim_fail("%s: %s", path, strerror(errno));
	while (len < n - 1 && (k = read(fd, buf + len, n - 1 - len)) > 0)
		len += (size_t)k;
	close(fd);
	buf[len] = 0;
	return len;
}

static char vm_text_[1 << 20];

/* What smaps says about the mapping that holds addr: its header line and its VmFlags; kB of a key. */
struct vm_area { char head[512], flags[256]; long rss, huge, anon, locked; };
static inline int vm_smaps(const void *addr, struct vm_area *a)
{
	int found = 0;

	vm_slurp("/proc/self/smaps", vm_text_, sizeof vm_text_);
	memset(a, 0, sizeof *a);
	for (char *p = vm_text_, *nl; (nl = strchr(p, '\n')); p = nl + 1) {
		unsigned long s, e;
		*nl = 0;
		if (sscanf(p, "%lx-%lx ", &s, &e) == 2) {
			if (found)
				return 0;
			found = (uintptr_t)addr >= s && (uintptr_t)addr < e;
			if (found)
				snprintf(a->head, sizeof a->head, "%.500s", p);
		} else if (found) {
			sscanf(p, "Rss: %ld", &a->rss);
			sscanf(p, "AnonHugePages: %ld", &a->huge);
			sscanf(p, "Anonymous: %ld", &a->anon);
			sscanf(p, "Locked: %ld", &a->locked);
			if (!strncmp(p, "VmFlags:", 8))
				snprintf(a->flags, sizeof a->flags, "%.250s ", p + 8);
		}
	}
	return found ? 0 : -1;
}
static inline int vm_flag(const struct vm_area *a, const char *flag)
{
	char t[8];

	snprintf(t, sizeof t, " %s ", flag);
	return strstr(a->flags, t) != NULL;
}

/* Sum in kB of lines "Shared_Clean:" and "Shared_Dirty:" of smaps_rollup. */
static inline long vm_shared_kb(void)
{
	long sum = 0, v;

	vm_slurp("/proc/self/smaps_rollup", vm_text_, sizeof vm_text_);
	for (char *p = vm_text_; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (sscanf(p, "Shared_Clean: %ld", &v) == 1 || sscanf(p, "Shared_Dirty: %ld", &v) == 1)
			sum += v;
	return sum;
}

/* The whole address space: neighbours that are alike are one, for a restart may join them. */
struct vm_maps { size_t n; struct { uint64_t s, e; char perms[8], name[128]; } v[VM_MAX_AREAS]; };
static inline void vm_maps(struct vm_maps *m)
{
	m->n = 0;
	vm_slurp("/proc/self/maps", vm_text_, sizeof vm_text_);
	for (char *p = vm_text_, *nl; (nl = strchr(p, '\n')); p = nl + 1) {
		unsigned long s, e;
		char perms[8], name[128] = "";

		*nl = 0;
		if (sscanf(p, "%lx-%lx %7s %*s %*s %*s %127[^\n]", &s, &e, perms, name) < 3 || !strcmp(name, "[vsyscall]"))
			continue;
		if (m->n && m->v[m->n - 1].e == s && !strcmp(m->v[m->n - 1].perms, perms) && !strcmp(m->v[m->n - 1].name, name)) {
			m->v[m->n - 1].e = e;
			continue;
		}
		if (m->n == VM_MAX_AREAS)
			victim_fail("too many mappings");
		m->v[m->n].s = s;
		m->v[m->n].e = e;
		strcpy(m->v[m->n].perms, perms);
		strcpy(m->v[m->n++].name, name);
	}
}
/* Nothing more, nothing less, nothing elsewhere, nothing writable that was not. Names of deleted files may change;
 * the stack may have grown. */
static inline void vm_same_maps(const struct vm_maps *a, const struct vm_maps *b)
{
	for (size_t i = 0; i < a->n || i < b->n; i++) {
		if (i >= a->n)
			victim_fail("a mapping too much: %llx-%llx %s %s", (unsigned long long)b->v[i].s, (unsigned long long)b->v[i].e,
				    b->v[i].perms, b->v[i].name);
		int stack = !strcmp(a->v[i].name, "[stack]");
		if (i >= b->n || (a->v[i].s != b->v[i].s && !stack) || a->v[i].e != b->v[i].e || strcmp(a->v[i].perms, b->v[i].perms))
			victim_fail("mapping %llx-%llx %s %s is now %llx-%llx %s %s", (unsigned long long)a->v[i].s,
				    (unsigned long long)a->v[i].e, a->v[i].perms, a->v[i].name,
				    i < b->n ? (unsigned long long)b->v[i].s : 0, i < b->n ? (unsigned long long)b->v[i].e : 0,
				    i < b->n ? b->v[i].perms : "", i < b->n ? b->v[i].name : "");
		if (strcmp(a->v[i].name, b->v[i].name) && !strstr(a->v[i].name, "(deleted)"))
			victim_fail("mapping %llx: name %s, not %s", (unsigned long long)a->v[i].s, b->v[i].name, a->v[i].name);
	}
}

static inline void *vm_map(size_t n, int prot, int flags)
{
	void *p = mmap(NULL, n, prot, flags, -1, 0);

	if (p == MAP_FAILED)
		victim_fail("mmap: %s", strerror(errno));
	return p;
}
static inline void *vm_anon(size_t n) { return vm_map(n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS); }

#endif
