/* The floor: the least that any program can do to run /bin/true in a container of the default configuration, with what
   every runtime owes besides: a cgroup of its own with the default device rules, and a record of the container on disk.
   One static program, every step in sequence, nothing decided at run time. A runtime's distance from it is its own cost.

   floor ROOTFS        where /sys/fs/cgroup is a cgroup2, as root
   gcc -O2 -static -o floor floor.c */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof *(a))
#define MUST(call) must((call), #call)

static long must(long result, const char *call)
{
	if (result < 0) {
		dprintf(STDERR_FILENO, "floor: %s: %s\n", call, strerror(errno));
		_exit(125);
	}
	return result;
}

/* The rules that every runtime grants: mknod of anything, and the devices below. */
enum { ANY = -1, MKNOD = BPF_DEVCG_ACC_MKNOD, ALL = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE };
enum { BLOCK = BPF_DEVCG_DEV_BLOCK, CHAR = BPF_DEVCG_DEV_CHAR };
static const struct {
	int type, major, minor, access;
} rules[] = {
	{ BLOCK, ANY, ANY, MKNOD }, { CHAR, ANY, ANY, MKNOD }, { CHAR, 1, 3, ALL }, { CHAR, 1, 5, ALL },
	{ CHAR, 1, 7, ALL },	    { CHAR, 1, 8, ALL },       { CHAR, 1, 9, ALL }, { CHAR, 5, 0, ALL },
	{ CHAR, 5, 2, ALL },	    { CHAR, 136, ANY, ALL },
};

static struct bpf_insn insns[16 + 8 * LENGTH(rules)];
static int n_insns;

static int emit(uint8_t code, int dst, int src, int16_t off, int32_t imm)
{
	insns[n_insns] = (struct bpf_insn){ .code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm };
	return n_insns++;
}

static int load_device_program(void)
{
	enum { CTX = BPF_REG_1, TYPE, ACCESS, MAJOR, MINOR, SCRATCH };
	const int load = BPF_LDX | BPF_MEM | BPF_W, jump_ne = BPF_JMP | BPF_JNE | BPF_K;
	emit(load, TYPE, CTX, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	emit(BPF_ALU64 | BPF_MOV | BPF_X, ACCESS, TYPE, 0, 0);
	emit(BPF_ALU | BPF_AND | BPF_K, TYPE, 0, 0, 0xffff);
	emit(BPF_ALU | BPF_RSH | BPF_K, ACCESS, 0, 0, 16);
	emit(load, MAJOR, CTX, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit(load, MINOR, CTX, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	for (unsigned i = 0; i < LENGTH(rules); i++) {
		int misses[4], n = 0;
		misses[n++] = emit(jump_ne, TYPE, 0, 0, rules[i].type);
		emit(BPF_ALU | BPF_MOV | BPF_X, SCRATCH, ACCESS, 0, 0);
		emit(BPF_ALU | BPF_AND | BPF_K, SCRATCH, 0, 0, ALL & ~rules[i].access);
		misses[n++] = emit(jump_ne, SCRATCH, 0, 0, 0);
		if (rules[i].major != ANY)
			misses[n++] = emit(jump_ne, MAJOR, 0, 0, rules[i].major);
		if (rules[i].minor != ANY)
			misses[n++] = emit(jump_ne, MINOR, 0, 0, rules[i].minor);
		emit(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1);
		emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
		while (n-- > 0)
			insns[misses[n]].off = n_insns - misses[n] - 1;
	}
	emit(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
	emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uintptr_t)insns, .insn_cnt = n_insns,
				.license = (uintptr_t) "Apache-2.0" };
	return MUST(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr));
}

/* The default mounts, relative to the root; the directory of each is there or is made. */
static const struct {
	const char *at, *type;
	unsigned long flags;
	const char *data;
} mounts[] = {
	{ "proc", "proc", 0, NULL },
	{ "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k" },
	{ "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5" },
	{ "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k" },
	{ "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL },
	{ "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL },
};
static const struct {
	const char *at;
	int major, minor;
} devices[] = { { "dev/null", 1, 3 },	{ "dev/zero", 1, 5 },	 { "dev/full", 1, 7 },
		{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 } };
static const char *const links[][2] = {
	{ "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
	{ "/proc/self/fd/2", "dev/stderr" }, { "pts/ptmx", "dev/ptmx" } };
static const char *const masked[] = { "/proc/kcore", "/proc/keys", "/proc/timer_list" };
static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };

static void container(const char *root)
{
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount(root, root, NULL, MS_BIND | MS_REC, NULL));
	MUST(chdir(root));
	for (unsigned i = 0; i < LENGTH(mounts); i++) {
		if (strchr(mounts[i].at, '/'))
			MUST(mkdir(mounts[i].at, 0755));
		MUST(mount(mounts[i].type, mounts[i].at, mounts[i].type, mounts[i].flags, mounts[i].data));
	}
	for (unsigned i = 0; i < LENGTH(devices); i++)
		MUST(mknod(devices[i].at, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)));
	for (unsigned i = 0; i < LENGTH(links); i++)
		MUST(symlink(links[i][0], links[i][1]));
	MUST(syscall(SYS_pivot_root, ".", "."));
	MUST(umount2(".", MNT_DETACH));
	MUST(chdir("/"));
	/* A kernel may lack some of these files: then there is nothing to hide. */
	for (unsigned i = 0; i < LENGTH(masked); i++)
		if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			MUST(-1);
	for (unsigned i = 0; i < LENGTH(readonly); i++) {
		if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) < 0 && errno == ENOENT)
			continue;
		MUST(mount(NULL, readonly[i], NULL,
			   MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	}
	MUST(sethostname("floor", 5));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	char *const argv[] = { "/bin/true", NULL }, *const envp[] = { NULL };
	MUST(execve(argv[0], argv, envp));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		dprintf(STDERR_FILENO, "floor ROOTFS\n");
		return 2;
	}
	char cgroup[64], record[64], draft[80];
	snprintf(cgroup, sizeof cgroup, "/sys/fs/cgroup/floor-%d", getpid());
	snprintf(record, sizeof record, "/run/floor-%d", getpid());
	snprintf(draft, sizeof draft, "%s.tmp", record);

	MUST(mkdir(cgroup, 0755));
	int cgroup_fd = MUST(open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	union bpf_attr attach = { .target_fd = cgroup_fd, .attach_bpf_fd = load_device_program(),
				  .attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI };
	MUST(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));

	int pidfd;
	struct clone_args clone = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET |
			 CLONE_PIDFD | CLONE_INTO_CGROUP,
		.pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup_fd,
	};
	pid_t pid = MUST(syscall(SYS_clone3, &clone, sizeof clone));
	if (pid == 0)
		container(argv[1]);

	static char state[4096]; /* about as much as a runtime keeps of a container */
	memset(state, 'x', sizeof state);
	int fd = MUST(open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
	MUST(write(fd, state, sizeof state));
	MUST(close(fd));
	MUST(rename(draft, record));

	int status;
	MUST(waitpid(pid, &status, 0));
	MUST(rmdir(cgroup));
	MUST(unlink(record));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
