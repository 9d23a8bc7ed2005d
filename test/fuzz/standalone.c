/* standalone: a main for the fuzz targets where libFuzzer is not at hand (gcc, valgrind,
 * afl): runs each file given as an argument through the target once. */
#include "common/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	struct buf b = BUF_INIT;
	int i;

	for (i = 1; i < argc; i++) {
		buf_free(&b); /* a fresh block each time, so that ASan sees reads past its end */
		if (buf_read_file(&b, AT_FDCWD, argv[i], 64 << 20) < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			return 2;
		}
		LLVMFuzzerTestOneInput((const uint8_t *)buf_str(&b), b.len);
	}
	printf("ok - %d inputs\n", argc - 1);
	buf_free(&b);
	return 0;
}
