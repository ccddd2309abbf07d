/* step FILE PROGRAM ARGUMENT...: runs PROGRAM, a static one, and adds to FILE each address of it that its first process executes, once, as it is in the
   program's own file. Ends with its exit status.
   gcc -O2 -static -o step step.c */
#include <elf.h>
#include <stddef.h>
#include <signal.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 16 << 20 };
static unsigned char seen[SIZE];

static unsigned long long entry(const char *path, int offset, unsigned long long type) {
    unsigned long long pair[2] = {0, 0};
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, offset, SEEK_SET)) err(1, "%s", path);
    if (!type) {
        if (fread(pair, sizeof *pair, 1, file) != 1) err(1, "%s", path);
        fclose(file);
        return pair[0];
    }
    while (fread(pair, sizeof pair, 1, file) == 1 && pair[0] != type) {}
    fclose(file);
    return pair[1];
}

int main(int count, char **words) {
    int status, signal = 0;
    char auxv[64];
    struct user_regs_struct registers;
    FILE *out = count > 2 ? fopen(words[1], "a") : NULL;
    if (!out) errx(1, "step FILE PROGRAM ARGUMENT...");
    pid_t pid = fork();
    if (!pid) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(words[2], words + 2);
        err(127, "%s", words[2]);
    }
    waitpid(pid, &status, 0);
    snprintf(auxv, sizeof auxv, "/proc/%d/auxv", pid);
    unsigned long long base = entry(auxv, 0, AT_ENTRY) - entry(words[2], offsetof(Elf64_Ehdr, e_entry), 0);
    while (WIFSTOPPED(status)) {
        ptrace(PTRACE_GETREGS, pid, 0, &registers);
        unsigned long long at = registers.rip - base;
        if (at < SIZE && !seen[at]) {
            seen[at] = 1;
            fprintf(out, "%016llx ~\n", at);
        }
        if (ptrace(PTRACE_SINGLESTEP, pid, 0, signal)) err(1, "ptrace");
        waitpid(pid, &status, 0);
        signal = WIFSTOPPED(status) && WSTOPSIG(status) != SIGTRAP ? WSTOPSIG(status) : 0;
    }
    fclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
