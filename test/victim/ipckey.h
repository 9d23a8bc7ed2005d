/* ipckey: keys of System V objects by which xos_ipc_away in test/bats/helper.bash finds what killed victims left: 0x58 to 0x5f and
 * the PID. */
#ifndef XOS_IPCKEY_H
#define XOS_IPCKEY_H

#include <sys/ipc.h>
#include <unistd.h>

static inline key_t ipc_key(int i) { return 0x58000000 + (i << 24) + getpid(); }

#endif
