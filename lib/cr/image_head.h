/* image_head: what description.txt says of an image. */
#ifndef XOS_CR_IMAGE_HEAD_H
#define XOS_CR_IMAGE_HEAD_H

#include "common/err.h"
#include "image/image.h"
#include <sys/types.h>

struct image_head {
	char identifier[80], date[64], kind[32], host[256];
	uint64_t version, procs;
	uid_t uid; gid_t gid;
};
/* EX_BAD_IMAGE when a field is missing or malformed. */
int image_head_read(const struct image *im, struct image_head *h, struct err *e);

#endif
