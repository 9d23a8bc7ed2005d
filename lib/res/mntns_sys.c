/* mntns_sys: system calls of mntns that not every libc has. */
#include "res/mntns_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
enum { NO_AUTOMOUNT = 0x800, MOVE_F_EMPTY = 4, MOVE_T_EMPTY = 0x40, FS_CLOEXEC = 1, STAT_MNT_ID = 0x1000, STAT_TYPE_MODE = 3 };
#define STAT_ATTR_MOUNT_ROOT 0x2000

int sys_open_tree(int dir, const char *path, unsigned flags)
{
	return (int)syscall(SYS_open_tree, dir, path, flags | O_CLOEXEC | NO_AUTOMOUNT | (*path ? 0 : AT_EMPTY_PATH));
}

int sys_move_mount(int from, int to, unsigned flags)
{
	return (int)syscall(SYS_move_mount, from, "", to, "", flags | MOVE_F_EMPTY | MOVE_T_EMPTY);
}

int sys_fsopen(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FS_CLOEXEC);
}

int sys_fsconfig(int fs, unsigned cmd, const char *key, const char *val)
{
	return (int)syscall(SYS_fsconfig, fs, cmd, key, val, 0);
}

int sys_fsmount(int fs, unsigned attr)
{
	return (int)syscall(SYS_fsmount, fs, FS_CLOEXEC, attr);
}

int sys_open_in(int root, const char *path, int flags, unsigned resolve)
{
	struct { uint64_t flags, mode, resolve; } how = { (uint64_t)flags | O_CLOEXEC, 0, resolve };

	return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

int sys_mount_id(int fd, int *id, bool *mount_root, mode_t *mode)
{
	struct statx st;

	memset(&st, 0, sizeof st);
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | NO_AUTOMOUNT, STAT_TYPE_MODE | STAT_MNT_ID, &st))
		return -1;
	if (!(st.stx_mask & STAT_MNT_ID)) {
		errno = ENOSYS;
		return -1;
	}
	*id = (int)st.stx_mnt_id;
	if (mount_root)
		*mount_root = st.stx_attributes & STAT_ATTR_MOUNT_ROOT;
	if (mode)
		*mode = st.stx_mode;
	return 0;
}
