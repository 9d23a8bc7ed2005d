/* journal: where in the process the stub and its journal live, and the address of the scratch area. */
#include "tracee/internal.h"
#include <elf.h>
#include <string.h>

enum { VDSO_LIMIT = 1 << 16 };

/* End of everything that the ELF image in p names; n when it makes no sense. */
static size_t elf_end(const char *p, size_t n)
{
	Elf64_Ehdr eh;
	size_t end;

	if (n < sizeof(eh))
		return n;
	memcpy(&eh, p, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_phoff > n || eh.e_shoff > n)
		return n;
	end = eh.e_phoff + (size_t)eh.e_phnum * sizeof(Elf64_Phdr);
	if (eh.e_shoff + (size_t)eh.e_shnum * sizeof(Elf64_Shdr) > n || end > n)
		return n;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, p + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_LOAD && ph.p_offset + ph.p_filesz > end)
			end = ph.p_offset + ph.p_filesz;
	}
	for (unsigned i = 0; i < eh.e_shnum; i++) {
		Elf64_Shdr sh;

		memcpy(&sh, p + eh.e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_type != SHT_NOBITS && sh.sh_offset + sh.sh_size > end)
			end = sh.sh_offset + sh.sh_size;
	}
	if (eh.e_shoff + (size_t)eh.e_shnum * sizeof(Elf64_Shdr) > end)
		end = eh.e_shoff + (size_t)eh.e_shnum * sizeof(Elf64_Shdr);
	return end;
}

static bool all_zero(const char *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Looks at the last n bytes (n >= STUB_SIZE) of a mapping. 1: ours already, 0: free, -1: neither. */
static int tail_state(const char *p, size_t n, struct stub_journal *j)
{
	memcpy(j, p + n - STUB_JOURNAL, sizeof(*j));
	if (j->magic == STUB_MAGIC)
		return 1;
	/* The second: a tracer died while it wrote word by word. */
	if (all_zero(p + n - STUB_SIZE, STUB_SIZE) || memcmp(p + n - STUB_SIZE, xos_stub, 16) == 0)
		return 0;
	return -1;
}

static int try_map(struct tracee *t, const struct proc_map *m, struct stub_journal *j)
{
	bool vdso = strcmp(m->path, "[vdso]") == 0;
	size_t n = m->end - m->start;
	char page[VDSO_LIMIT];
	const size_t have = vdso && n <= VDSO_LIMIT ? n : STUB_SIZE;

	if (!m->x || m->shared || strcmp(m->path, "[vsyscall]") == 0)
		return -1;
	if (tracee_read(t, m->end - have, page, have, NULL) < 0)
		return -1;
	if (vdso && (n > VDSO_LIMIT || n - elf_end(page, n) < STUB_SIZE))
		return -1;
	return tail_state(page, have, j);
}

int place_find(struct tracee *t, uint64_t *addr, bool *found, struct stub_journal *j, struct err *e)
{
	*found = false;
	for (int pass = 0; pass < 2; pass++) /* the vDSO first: nobody else uses its tail */
		for (size_t i = 0; i < t->maps.n; i++) {
			const struct proc_map *m = &t->maps.v[i];
			int s;

			if ((strcmp(m->path, "[vdso]") == 0) != (pass == 0))
				continue;
			s = try_map(t, m, j);
			if (s < 0)
				continue;
			*addr = m->end - STUB_SIZE;
			*found = s == 1;
			return 0;
		}
	return err_set(e, EX_CANNOT_CKPT, "there is no room for remote control in any executable mapping");
}

uint64_t place_hole(const struct proc_maps *m, uint64_t len, unsigned attempt)
{
	const uint64_t low = 0x10000, high = 0x7fffff000000;
	uint64_t prev = low, best = 0, at = 0;

	for (size_t i = 0; i <= m->n; i++) {
		uint64_t start = i < m->n && m->v[i].start < high ? m->v[i].start : high;

		if (start > prev && start - prev > best) {
			best = start - prev;
			at = prev;
		}
		if (i == m->n || m->v[i].start >= high)
			break;
		prev = m->v[i].end > prev ? m->v[i].end : prev;
	}
	if (best < 8 * len)
		return 0;
	/* Far from both ends: neither the heap nor the kernel's own choices for mmap come there soon. */
	return (at + best / 2 + (best / 8) * attempt) & ~0xfffull;
}

int stub_wipe(struct tracee *t, struct err *e)
{
	static const char zeros[STUB_SIZE];

	if (!t->stub_written)
		return 0;
	t->stub_written = false;
	return tracee_write(t, t->stub_addr, zeros, sizeof(zeros), e);
}
