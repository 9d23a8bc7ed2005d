#include "tracee/internal.h"
#include <string.h>
#include <sys/uio.h>

int tracee_read(struct tracee *t, uint64_t addr, void *p, size_t n, struct err *e)
{
	size_t done = 0;

	while (done < n) {
		struct iovec l = { (char *)p + done, n - done }, r = { (void *)(addr + done), n - done };
		ssize_t k = process_vm_readv(tracee_alive(t), &l, 1, &r, 1, 0);

		if (k <= 0) {
			if (k == 0)
				errno = EFAULT;
			return err_sys(e, "cannot read its memory at 0x%llx", (unsigned long long)(addr + done));
		}
		done += (size_t)k;
	}
	return 0;
}

/* Word by word: for kernels that forbid forced writes through /proc/PID/mem. The words are written in
 * ascending order, so the journal's magic comes last. */
static int poke(pid_t tid, uint64_t addr, const char *p, size_t n)
{
	while (n > 0) {
		uint64_t at = addr & ~7ull, word;
		size_t skip = (size_t)(addr - at), k = 8 - skip < n ? 8 - skip : n;

		if (k < 8) {
			struct iovec l = { &word, 8 }, r = { (void *)at, 8 };

			if (process_vm_readv(tid, &l, 1, &r, 1, 0) != 8)
				return -1;
		}
		memcpy((char *)&word + skip, p, k);
		if (pt(XPT_POKEDATA, tid, at, (const void *)word) < 0)
			return -1;
		addr += k;
		p += k;
		n -= k;
	}
	return 0;
}

static pid_t stopped_thread(const struct tracee *t)
{
	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].state >= THREAD_STOPPED)
			return t->thr[i].tid;
	return t->pid;
}

int tracee_write(struct tracee *t, uint64_t addr, const void *p, size_t n, struct err *e)
{
	size_t done = 0;

	while (done < n) {
		ssize_t k = t->memfd < 0 ? -1 :
			    pwrite(t->memfd, (const char *)p + done, n - done, (off_t)(addr + done));

		if (k > 0) {
			done += (size_t)k;
			continue;
		}
		if (poke(stopped_thread(t), addr + done, (const char *)p + done, n - done) == 0)
			return 0;
		return err_sys(e, "cannot write its memory at 0x%llx", (unsigned long long)(addr + done));
	}
	return 0;
}
