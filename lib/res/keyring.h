/* keyring: session, process and thread keyrings, see keyring.c (checkpoint) and keyring_restore.c. */
#ifndef XOS_KEYRING_H
#define XOS_KEYRING_H

#include "res/res.h"

/* keyctl(2), linux/keyctl.h */
enum {
	KEY_THREAD = -1, KEY_PROCESS = -2, KEY_SESSION = -3, KEY_USER = -4,
	KEY_GET_ID = 0, KEY_JOIN = 1, KEY_CHOWN = 4, KEY_SETPERM = 5, KEY_DESCRIBE = 6, KEY_LINK = 8, KEY_READ = 11,
	KEY_SET_DEFAULT = 14, KEY_SET_TIMEOUT = 15,
	KEY_DEPTH = 8,                /* the kernel searches rings in rings six deep */
	KEY_RING_MAX = 1024,          /* keys of one ring */
	KEY_DATA_MAX = 32767,         /* payload of a key of type user */
	KEY_TYPE_MAX = 31, KEY_DESC_MAX = 4095, KEY_MAX = 1 << 16,
};

int keyring_verify(struct restore *r, struct rproc *p, struct err *e);
int keyring_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e);
void keyring_dump_free(struct dump *d);
void keyring_restore_free(struct restore *r);

#endif
