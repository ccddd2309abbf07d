/* The program that does nothing: what a container runs in a benchmark, and what starting any program costs.
   No libc, so that its own start is as short as can be.
   gcc -Os -static -nostdlib -o noop noop.c */
#include <sys/syscall.h>

__attribute__((noreturn)) void _start(void)
{
#if defined(__x86_64__)
	__asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(0));
#elif defined(__aarch64__)
	register long number __asm__("x8") = SYS_exit_group;
	register long status __asm__("x0") = 0;
	__asm__ volatile("svc 0" : : "r"(number), "r"(status));
#else
#error "unknown architecture"
#endif
	__builtin_unreachable();
}
