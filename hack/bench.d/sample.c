/* Times commands in interleaved rounds.

   sample ROUNDS WARMUP PAUSE-MS < PLAN > SAMPLES

   PLAN holds one command a line, its words separated by tabs:
       KIND  SUBJECT  PROGRAM  ARG...
   KIND is `before`, `timed` or `after`; the lines of a subject are run in the order of the plan, in every round. `{}`
   in an argument stands for a name that is unique to subject and round. SAMPLES holds a line `SUBJECT WALL CPU`, both in
   nanoseconds, for each timed command of each round after the first WARMUP ones: from before vfork until it has been
   waited for, and what it and the processes that it waited for used of the processors.

   The order of the subjects changes at random from round to round, and each waits PAUSE-MS before its turn: the
   kernel takes a dead container's namespaces apart in the background, and that must not be the next one's bill.

   A command that fails ends the measurement with status 1; its standard output is dropped, its standard error is not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COMMANDS = 128, MAX_WORDS = 64 };

struct command {
	char *kind, *subject;
	char *argv[MAX_WORDS + 1];
};

static struct command commands[MAX_COMMANDS];
static int n_commands;
extern char **environ;

static void die(const char *what)
{
	fprintf(stderr, "sample: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void read_plan(void)
{
	char *line = NULL;
	size_t size = 0;
	for (ssize_t length; (length = getline(&line, &size, stdin)) > 0; line = NULL, size = 0) {
		if (n_commands == MAX_COMMANDS) {
			errno = E2BIG;
			die("plan");
		}
		if (line[length - 1] == '\n')
			line[length - 1] = 0;
		struct command *c = &commands[n_commands++];
		int words = 0;
		c->kind = strsep(&line, "\t");
		c->subject = strsep(&line, "\t");
		while (line && words < MAX_WORDS)
			c->argv[words++] = strsep(&line, "\t");
		if (words == 0) {
			errno = EINVAL;
			die("plan");
		}
	}
}

static void run(const struct command *c, const char *name, FILE *samples)
{
	char *argv[MAX_WORDS + 1] = { 0 };
	for (int i = 0; c->argv[i]; i++) {
		char *hole = strstr(c->argv[i], "{}");
		if (!hole)
			argv[i] = strdup(c->argv[i]);
		else if (asprintf(&argv[i], "%.*s%s%s", (int)(hole - c->argv[i]), c->argv[i], name, hole + 2) < 0)
			die("asprintf");
	}
	struct timespec from, to;
	struct rusage used;
	int status;
	clock_gettime(CLOCK_MONOTONIC, &from);
	pid_t pid = vfork();
	if (pid == 0) {
		execve(argv[0], argv, environ);
		_exit(127);
	}
	if (pid < 0)
		die("vfork");
	while (wait4(pid, &status, 0, &used) < 0)
		if (errno != EINTR)
			die("wait4");
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (status != 0) {
		fprintf(stderr, "sample: %s, %s: wait status %#x:", c->subject, c->kind, (unsigned)status);
		for (int i = 0; argv[i]; i++)
			fprintf(stderr, " %s", argv[i]);
		fprintf(stderr, "\n");
		exit(1);
	}
	if (samples && !strcmp(c->kind, "timed"))
		fprintf(samples, "%s %lld %lld\n", c->subject,
			(to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec,
			(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL
				+ (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL);
	for (int i = 0; argv[i]; i++)
		free(argv[i]);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "sample ROUNDS WARMUP PAUSE-MS < PLAN > SAMPLES\n");
		return 2;
	}
	int rounds = atoi(argv[1]), warmup = atoi(argv[2]);
	long pause = atol(argv[3]);
	read_plan();

	/* The commands get /dev/null for input and output; the samples go where output went. */
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	FILE *samples = out < 0 ? NULL : fdopen(out, "w");
	if (!samples || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		die("redirect");

	/* Where each subject's lines begin; a subject's lines are neighbours. */
	int first[MAX_COMMANDS], subjects = 0;
	for (int i = 0; i < n_commands; i++)
		if (i == 0 || strcmp(commands[i].subject, commands[i - 1].subject))
			first[subjects++] = i;

	uint32_t random = 2463534242u; /* xorshift32: the same order in every measurement */
	for (int round = 0; round < warmup + rounds; round++) {
		for (int left = subjects; left > 1; left--) {
			random ^= random << 13, random ^= random >> 17, random ^= random << 5;
			int other = (int)(random % (uint32_t)left), swap = first[left - 1];
			first[left - 1] = first[other];
			first[other] = swap;
		}
		for (int s = 0; s < subjects; s++) {
			char name[128];
			const char *subject = commands[first[s]].subject;
			snprintf(name, sizeof name, "bench-%s-%d", subject, round);
			nanosleep(&(struct timespec){ pause / 1000, pause % 1000 * 1000000 }, NULL);
			for (int i = first[s]; i < n_commands && !strcmp(commands[i].subject, subject); i++)
				run(&commands[i], name, round < warmup ? NULL : samples);
		}
	}
	return fclose(samples) ? 1 : 0;
}
