#include "common/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Messages quote names from images and file systems: a newline or an escape
 * sequence in one must neither break the line nor reach the terminal. */
static void one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

static int code_of(int sys)
{
	switch (sys) {
	case ENOSPC:
	case EDQUOT:
		return EX_NOSPACE;
	case EPERM:
	case EACCES:
		return EX_PERM;
	default:
		return EX_FAILED;
	}
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!e)
		return -1;
	e->code = code;
	e->sys = 0;
	e->hint[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	one_line(e->msg);
	errno = saved;
	return -1;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int saved = errno;
	char why[128];
	size_t room, len;
	va_list ap;

	if (!e)
		return -1;
	e->code = code_of(saved);
	e->sys = saved;
	e->hint[0] = '\0';
	/* The reason is what must survive when a path fills the message. */
	snprintf(why, sizeof(why), ": %s", strerror(saved));
	room = sizeof(e->msg) - strlen(why);
	va_start(ap, fmt);
	vsnprintf(e->msg, room, fmt, ap);
	va_end(ap);
	len = strlen(e->msg);
	memcpy(e->msg + len, why, strlen(why) + 1);
	one_line(e->msg);
	errno = saved;
	return -1;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	int saved = errno;
	char pre[sizeof(e->msg)];
	size_t plen, mlen;
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	vsnprintf(pre, sizeof(pre) - 2, fmt, ap);
	va_end(ap);
	plen = strlen(pre);
	memcpy(pre + plen, ": ", 3);
	plen += 2;
	one_line(pre);
	mlen = strlen(e->msg);
	if (mlen > sizeof(e->msg) - 1 - plen)
		mlen = sizeof(e->msg) - 1 - plen;
	memmove(e->msg + plen, e->msg, mlen);
	memcpy(e->msg, pre, plen);
	e->msg[plen + mlen] = '\0';
	errno = saved;
	return -1;
}

void err_hint(struct err *e, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!e || e->hint[0])
		return;
	va_start(ap, fmt);
	vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	one_line(e->hint);
	errno = saved;
}

bool err_is_set(const struct err *e)
{
	return e && e->code != 0;
}

void err_clear(struct err *e)
{
	if (!e)
		return;
	e->code = 0;
	e->sys = 0;
	e->msg[0] = '\0';
	e->hint[0] = '\0';
}
