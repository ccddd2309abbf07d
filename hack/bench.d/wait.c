/* The program that waits: a container's own process, while others come and go.
   gcc -Os -static -nostdlib -o wait wait.c */
#include <sys/syscall.h>

__attribute__((noreturn)) void _start(void)
{
	for (;;) {
#if defined(__x86_64__)
		long result;
		__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_pause) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
		/* ppoll of nothing, for ever */
		register long number __asm__("x8") = SYS_ppoll;
		register long a __asm__("x0") = 0, b __asm__("x1") = 0, c __asm__("x2") = 0, d __asm__("x3") = 0, e __asm__("x4") = 0;
		__asm__ volatile("svc 0" : "+r"(a) : "r"(number), "r"(b), "r"(c), "r"(d), "r"(e) : "memory");
#else
#error "unknown architecture"
#endif
	}
}
