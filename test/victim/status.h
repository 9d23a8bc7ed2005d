/* status: lines of /proc files as text, to be compared before and after. */
#ifndef XOS_STATUS_H
#define XOS_STATUS_H

#include "victim.h"

/* All lines of `file` that begin with one of the words (NULL: every line). */
static inline void status_take(char *out, size_t n, const char *file, const char *const *words)
{
	FILE *f = fopen(file, "re");
	char line[4096];
	size_t len = 0;

	out[0] = '\0';
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		int want = words == NULL;

		for (int i = 0; !want && words[i]; i++)
			want = strncmp(line, words[i], strlen(words[i])) == 0;
		if (want && len + strlen(line) < n)
			len += (size_t)snprintf(out + len, n - len, "%s", line);
	}
	fclose(f);
}

/* Fails with the first line that differs. */
static inline void status_same(const char *what, const char *before, const char *after)
{
	size_t i = 0, line = 0;

	while (before[i] && before[i] == after[i]) {
		if (before[i] == '\n')
			line = i + 1;
		i++;
	}
	if (before[i] != after[i])
		victim_fail("%s: was '%.*s', is '%.*s'", what, (int)strcspn(before + line, "\n"), before + line,
			    (int)strcspn(after + line, "\n"), after + line);
}

#endif
