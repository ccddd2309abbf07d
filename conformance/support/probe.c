/* What busybox cannot observe. Each word prints one fact as "word: value" or, for a system call, "ok" or the error's text. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int say(long result) {
    printf("%s\n", result < 0 ? strerror(errno) : "ok");
    return 0;
}

/* The open descriptors, one a line, without opening one. */
static int fds(void) {
    char link[64], target[4096];
    for (int fd = 0; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = 0;
        printf("%d %s\n", fd, target);
    }
    return 0;
}

static int tty(void) {
    struct winsize size;
    for (int fd = 0; fd < 3; fd++) {
        char name[256] = "";
        ttyname_r(fd, name, sizeof name);
        printf("tty%d: %d %s\n", fd, isatty(fd), name);
    }
    if (ioctl(0, TIOCGWINSZ, &size) == 0) printf("size: %d %d\n", size.ws_row, size.ws_col);
    printf("session: %d\n", getsid(0) == getpid());
    printf("foreground: %d\n", tcgetpgrp(0) == getpgrp());
    int control = open("/dev/tty", O_RDWR);
    printf("control: %d\n", control >= 0);
    return 0;
}

static int limits(const char *name) {
    static const struct { const char *name; int resource; } all[] = {
        {"CPU", RLIMIT_CPU}, {"FSIZE", RLIMIT_FSIZE}, {"DATA", RLIMIT_DATA}, {"STACK", RLIMIT_STACK}, {"CORE", RLIMIT_CORE},
        {"RSS", RLIMIT_RSS}, {"NPROC", RLIMIT_NPROC}, {"NOFILE", RLIMIT_NOFILE}, {"MEMLOCK", RLIMIT_MEMLOCK}, {"AS", RLIMIT_AS},
        {"LOCKS", RLIMIT_LOCKS}, {"SIGPENDING", RLIMIT_SIGPENDING}, {"MSGQUEUE", RLIMIT_MSGQUEUE}, {"NICE", RLIMIT_NICE},
        {"RTPRIO", RLIMIT_RTPRIO}, {"RTTIME", RLIMIT_RTTIME},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct rlimit value;
        if (strcmp(all[i].name, name)) continue;
        getrlimit(all[i].resource, &value);
        printf("%llu %llu\n", (unsigned long long)value.rlim_cur, (unsigned long long)value.rlim_max);
        return 0;
    }
    return 2;
}

/* A seccomp agent: listens at a socket, prints what it is sent, and answers each system call with an error, or lets it go on where that is 0. */
static int agent(const char *path, int error) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char bytes[65536], control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec piece = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int filter = -1, files = 0, socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s.new", path);
    if (bind(socket_fd, (void *)&address, sizeof address) || listen(socket_fd, 8)) return say(-1);
    if (rename(address.sun_path, path)) return say(-1); /* from here on it can be found */
    int peer = accept(socket_fd, 0, 0);
    ssize_t n = recvmsg(peer, &message, 0);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_type == SCM_RIGHTS) files += (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), memcpy(&filter, CMSG_DATA(c), sizeof filter);
    if (n <= 0) return say(-1);
    for (ssize_t more; (more = read(peer, bytes + n, sizeof bytes - n)) > 0;) n += more;
    printf("%.*s\n%d\n", (int)n, bytes, files);
    fflush(stdout);
    for (;;) {
        struct seccomp_notif call = {0};
        struct pollfd ready = {filter, POLLIN, 0};
        if (poll(&ready, 1, -1) < 0 || !(ready.revents & POLLIN)) return 0;
        if (ioctl(filter, SECCOMP_IOCTL_NOTIF_RECV, &call)) continue;
        struct seccomp_notif_resp answer = {.id = call.id, .error = -error, .flags = error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(filter, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

static int flags(const char *text) {
    int value = 0;
    for (; *text; text++)
        value |= *text == 'r' ? O_RDONLY : *text == 'w' ? O_WRONLY : *text == 'b' ? O_RDWR : *text == 'n' ? O_NONBLOCK : 0;
    return value;
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    if (!strcmp(word, "fds")) return fds();
    if (!strcmp(word, "tty")) return tty();
    if (!strcmp(word, "limit")) return limits(argv[2]);
    if (!strcmp(word, "argv")) {
        for (int i = 0; i < argc; i++) printf("[%s]\n", argv[i]);
        return 0;
    }
    if (!strcmp(word, "agent")) return agent(argv[2], atoi(argv[3]));
    if (!strcmp(word, "open")) return say(open(argv[2], flags(argv[3])));
    if (!strcmp(word, "securebits")) return printf("%d\n", prctl(PR_GET_SECUREBITS)), 0;
    if (!strcmp(word, "dumpable")) return printf("%d\n", prctl(PR_GET_DUMPABLE)), 0;
    if (!strcmp(word, "pdeathsig")) {
        int signal = -1;
        prctl(PR_GET_PDEATHSIG, &signal);
        return printf("%d\n", signal), 0;
    }
    if (!strcmp(word, "subreaper")) {
        int value = -1;
        prctl(PR_GET_CHILD_SUBREAPER, &value);
        return printf("%d\n", value), 0;
    }
    if (!strcmp(word, "thp")) return printf("%d\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)), 0;
    if (!strcmp(word, "timerslack")) return printf("%d\n", prctl(PR_GET_TIMERSLACK)), 0;
    if (!strcmp(word, "sid")) return printf("%d %d\n", getsid(0), getpgrp()), 0;
    if (!strcmp(word, "personality")) return printf("%x\n", personality(0xffffffff)), 0;
    if (!strcmp(word, "keyring")) {
        char text[256] = "";
        /* KEYCTL_DESCRIBE of KEY_SPEC_SESSION_KEYRING */
        if (syscall(SYS_keyctl, 6, -3, text, sizeof text) < 0) return say(-1);
        return printf("%s\n", text), 0;
    }
    if (!strcmp(word, "affinity")) {
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        return printf("%d\n", CPU_COUNT(&set)), 0;
    }
    if (!strcmp(word, "sched")) {
        struct { unsigned size, policy; unsigned long long flags; int nice; unsigned priority; unsigned long long runtime, deadline, period; } attr = {0};
        syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0);
        return printf("policy %u nice %d priority %u flags %llu\n", attr.policy, attr.nice, attr.priority, attr.flags), 0;
    }
    if (!strcmp(word, "sched-times")) {
        struct { unsigned size, policy; unsigned long long flags; int nice; unsigned priority; unsigned long long runtime, deadline, period; } attr = {0};
        syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0);
        return printf("runtime %llu deadline %llu period %llu\n", attr.runtime, attr.deadline, attr.period), 0;
    }
    if (!strcmp(word, "mempolicy")) {
        int mode = -1;
        unsigned long nodes[16] = {0};
        if (syscall(SYS_get_mempolicy, &mode, nodes, 8 * sizeof nodes, 0, 0) < 0) return say(-1);
        return printf("mode %x nodes %lx\n", mode, nodes[0]), 0;
    }
    if (!strcmp(word, "ioprio")) {
        long value = syscall(SYS_ioprio_get, 1, 0);
        return printf("class %ld level %ld\n", value >> 13, value & 0xff), 0;
    }
    if (!strcmp(word, "clock")) {
        struct timespec now;
        clock_gettime(!strcmp(argv[2], "boottime") ? CLOCK_BOOTTIME : CLOCK_MONOTONIC, &now);
        return printf("%ld\n", (long)now.tv_sec), 0;
    }
    if (!strcmp(word, "syscall")) {
        long number = atol(argv[2]), args[6] = {0};
        for (int i = 3; i < argc && i < 9; i++) args[i - 3] = strtol(argv[i], 0, 0);
        return say(syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]));
    }
    /* The calls that seccomp tests filter, by name, for their numbers differ between machines. */
    if (!strcmp(word, "getppid")) return say(syscall(SYS_getppid));
    if (!strcmp(word, "mkdirat")) return say(syscall(SYS_mkdirat, AT_FDCWD, argv[2], 0755));
    if (!strcmp(word, "unshare")) return say(unshare(atoi(argv[2])));
    if (!strcmp(word, "personality-set")) return say(personality(strtoul(argv[2], 0, 0)));
    if (!strcmp(word, "socket")) return say(socket(atoi(argv[2]), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!strcmp(word, "kexec")) return say(syscall(SYS_kexec_load, 0, 0, 0, 0));
    if (!strcmp(word, "ptrace")) return say(ptrace(PTRACE_TRACEME, 0, 0, 0));
    if (!strcmp(word, "getcpu-new")) return say(syscall(99999)); /* no such call on any machine */
    if (!strcmp(word, "sticky-tioc")) {
        char c = 'x';
        return say(ioctl(0, TIOCSTI, &c));
    }
    if (!strcmp(word, "trap")) {
        /* Dies by SIGSYS if the filter traps getppid. */
        syscall(SYS_getppid);
        return printf("alive\n"), 0;
    }
    if (!strcmp(word, "label")) {
        char label[256] = "";
        if (getxattr(argv[2], "security.selinux", label, sizeof label - 1) < 0) return say(-1);
        return printf("%s\n", label), 0;
    }
    if (!strcmp(word, "filesystem")) {
        struct statfs fs;
        if (statfs(argv[2], &fs)) return say(-1);
        return printf("%lx\n", (unsigned long)fs.f_type), 0;
    }
    if (!strcmp(word, "rdev")) {
        struct stat st;
        if (stat(argv[2], &st)) return say(-1);
        return printf("%c %u:%u %o %u:%u\n", S_ISCHR(st.st_mode) ? 'c' : S_ISBLK(st.st_mode) ? 'b' : S_ISFIFO(st.st_mode) ? 'p' : '-',
                      major(st.st_rdev), minor(st.st_rdev), st.st_mode & 07777, st.st_uid, st.st_gid), 0;
    }
    if (!strcmp(word, "notify")) { /* the words, a line each, in one datagram to $NOTIFY_SOCKET */
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        char text[1024] = "";
        for (int i = 2; i < argc; i++) strcat(strcat(text, argv[i]), "\n");
        strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
        return say(sendto(socket(AF_UNIX, SOCK_DGRAM, 0), text, strlen(text), 0, (void *)&to, sizeof to) < 0 ? -1 : 0);
    }
    if (!strcmp(word, "signals")) { /* the number of each that comes */
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, 0);
        setlinebuf(stdout);
        puts("ready");
        for (;;) printf("%d\n", sigwaitinfo(&all, 0));
    }
    if (!strcmp(word, "sigtest")) {
        /* Says which signal came. */
        sigset_t all;
        int got;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, 0);
        printf("ready\n");
        fflush(stdout);
        sigwait(&all, &got);
        return printf("got %d\n", got), 0;
    }
    if (!strcmp(word, "memory")) {
        size_t size = strtoul(argv[2], 0, 0) << 20;
        char *bytes = malloc(size);
        if (!bytes) return say(-1);
        memset(bytes, 1, size);
        return printf("ok %d\n", bytes[size / 2]), 0;
    }
    fprintf(stderr, "probe: no such word: %s\n", word);
    return 2;
}
