#include "job/scratch.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "job/internal.h"
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { PROJECT_FIRST = 0x786f0000, PROJECT_TRIES = 4096, REMOVE_DEPTH = 256, QUOTA_BLOCK = 1024 };

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif

/* ---- project quota ---- */

static int quota(int fd, int cmd, uint32_t id, void *p)
{
	unsigned c = (unsigned)cmd << SUBCMDSHIFT | PRJQUOTA; /* QCMD() shifts into the sign bit */
	return (int)syscall(SYS_quotactl_fd, fd, c, id, p);
}

/* Project quotas are switched on for the file system of fd. */
static bool quota_on(int fd)
{
	struct if_dqinfo info;
	return quota(fd, Q_GETINFO, 0, &info) == 0;
}

static int quota_set(int fd, uint32_t id, uint64_t bytes, uint64_t inodes)
{
	struct if_dqblk q = { .dqb_valid = QIF_LIMITS };
	q.dqb_bhardlimit = (bytes + QUOTA_BLOCK - 1) / QUOTA_BLOCK;
	q.dqb_ihardlimit = inodes ? inodes + 1 : 0; /* the directory itself */
	return quota(fd, Q_SETQUOTA, id, &q);
}

/* A project that nothing uses and nothing limits. */
static int quota_free_id(int fd, uint32_t *id)
{
	for (uint32_t i = 0; i < PROJECT_TRIES; i++) {
		struct if_dqblk q = { 0 };
		uint32_t p = PROJECT_FIRST + (uint32_t)(((uint64_t)getpid() + i) % 0xffff);
		if (quota(fd, Q_GETQUOTA, p, &q) < 0 && errno != ENOENT && errno != ESRCH)
			return -1;
		if (!q.dqb_curspace && !q.dqb_curinodes && !q.dqb_bhardlimit && !q.dqb_ihardlimit) {
			*id = p;
			return 0;
		}
	}
	errno = EAGAIN;
	return -1;
}

static int quota_make(struct job *j, int fd, uint64_t bytes, uint64_t inodes, struct err *e)
{
	struct fsxattr x;
	uint32_t id;
	char kind[32];
	if (quota_free_id(fd, &id) < 0)
		return err_sys(e, "%s: no free project id", j->tmp);
	snprintf(kind, sizeof kind, "quota:%u", id);
	if (job_set_str(&j->tmp_kind, kind, e) < 0 || job_save_quick(j, e) < 0)
		return -1;
	if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
		return err_sys(e, "%s: project id", j->tmp);
	x.fsx_projid = id;
	x.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	if (ioctl(fd, FS_IOC_FSSETXATTR, &x) < 0 || quota_set(fd, id, bytes, inodes) < 0)
		return err_sys(e, "%s: project quota", j->tmp);
	return 0;
}

/* ---- tmpfs ---- */

static int tmpfs_make(struct job *j, uint64_t bytes, uint64_t inodes, uid_t uid, gid_t gid, struct err *e)
{
	char opts[160], source[JOBID_MAX + 16];
	size_t k = (size_t)snprintf(opts, sizeof opts, "mode=0700,uid=%u,gid=%u", uid, gid);
	if (bytes)
		k += (size_t)snprintf(opts + k, sizeof opts - k, ",size=%llu", (unsigned long long)bytes);
	if (inodes)
		snprintf(opts + k, sizeof opts - k, ",nr_inodes=%llu", (unsigned long long)inodes + 1);
	snprintf(source, sizeof source, "xos-job-%s", j->id);
	if (job_set_str(&j->tmp_kind, "tmpfs", e) < 0 || job_save_quick(j, e) < 0)
		return -1;
	if (mount(source, j->tmp, "tmpfs", MS_NOSUID | MS_NODEV, opts) == 0)
		return 0;
	err_sys(e, "the file system of %s has no project quota, and a tmpfs cannot be mounted", j->tmp);
	if (errno == EPERM || errno == EACCES)
		err_hint(e, "disk= and inodes= need root (CAP_SYS_ADMIN)");
	return -1;
}

/* ---- make ---- */

static bool is_mount_point(const struct job *j)
{
	struct stat up, st;
	return fstat(j->dir, &up) == 0 && fstatat(j->dir, "tmp", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(st.st_mode) && st.st_dev != up.st_dev;
}

int job_scratch_make(struct job *j, uint64_t bytes, uint64_t inodes, uid_t uid, gid_t gid, struct err *e)
{
	char path[4096];
	if (j->tmp && faccessat(j->dir, "tmp", F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (!j->tmp_kind || strcmp(j->tmp_kind, "tmpfs") != 0 || is_mount_point(j)))
		return 0;
	if ((size_t)snprintf(path, sizeof path, "%s/jobs/%s/tmp", j->state_path, j->id) >= sizeof path)
		return err_set(e, EX_FAILED, "%s: path too long", j->state_path);
	if (job_set_str(&j->tmp, path, e) < 0 || job_set_str(&j->tmp_kind, "dir", e) < 0 || job_save_quick(j, e) < 0)
		return -1;
	if (mkdirat(j->dir, "tmp", 0700) < 0 && errno != EEXIST)
		return err_sys(e, "%s", path);
	AUTO_FD int fd = openat(j->dir, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "%s", path);
	if (bytes || inodes) {
		int r = quota_on(fd) ? quota_make(j, fd, bytes, inodes, e)
				     : tmpfs_make(j, bytes, inodes, uid, gid, e);
		if (r < 0)
			return -1;
	}
	if (!is_mount_point(j) && (uid != geteuid() || gid != getegid()) && fchown(fd, uid, gid) < 0)
		return err_sys(e, "%s", path);
	return 0;
}

/* ---- remove ---- */

/* Empties the directory fd (taken over), which the job could write to: never follows a link, never leaves the file system. */
static int empty_dir(int fd, dev_t dev, unsigned depth)
{
	DIR *d = fdopendir(fd);
	int r = 0;
	if (!d) {
		close(fd);
		return -1;
	}
	for (struct dirent *de; (de = readdir(d));) {
		struct stat st;
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, de->d_name, 0) == 0)
			continue;
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) || st.st_dev != dev ||
		    depth == REMOVE_DEPTH) {
			r = -1;
			continue;
		}
		if (geteuid() != 0) /* his own directory may be closed to him; root must not follow a link that appears here */
			fchmodat(fd, de->d_name, 0700, 0);
		int sub = openat(fd, de->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0 || empty_dir(sub, dev, depth + 1) < 0 || unlinkat(fd, de->d_name, AT_REMOVEDIR) < 0)
			r = -1;
	}
	closedir(d);
	return r;
}

static void drop_quota(const struct job *j)
{
	uint64_t id;
	AUTO_FD int fd = -1;
	if (!j->tmp_kind || strncmp(j->tmp_kind, "quota:", 6) != 0 || num_u64(j->tmp_kind + 6, UINT32_MAX, &id) < 0)
		return;
	fd = openat(j->dir, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		quota_set(fd, (uint32_t)id, 0, 0);
}

int job_scratch_remove(struct job *j, struct err *e)
{
	char path[4096];
	struct stat up, st;
	if (!j->tmp)
		return 0;
	/* Built anew instead of taken from the record: only ever our own directory is unmounted. */
	snprintf(path, sizeof path, "%s/jobs/%s/tmp", j->state_path, j->id);
	for (int i = 0; i < 16 && is_mount_point(j); i++)
		if (umount2(path, UMOUNT_NOFOLLOW) < 0 && umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
			return err_sys(e, "cannot unmount %s", path);
	drop_quota(j);
	int fd = openat(j->dir, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return job_set_str(&j->tmp, NULL, e);
	if (fd < 0 || fstat(j->dir, &up) < 0 || fstat(fd, &st) < 0) {
		err_sys(e, "%s", path);
		cleanup_fd(&fd);
		return -1;
	}
	if (empty_dir(fd, up.st_dev, 0) < 0 || (unlinkat(j->dir, "tmp", AT_REMOVEDIR) < 0 && errno != ENOENT))
		return err_sys(e, "cannot remove %s", path);
	return job_set_str(&j->tmp, NULL, e);
}
