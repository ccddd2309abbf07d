/* A hundred processes that wait, this one among them: what `delete --force` has to end in its benchmark. */
#include <unistd.h>

int main(void)
{
	for (int i = 1; i < 100; i++)
		if (fork() == 0)
			break;
	for (;;)
		pause();
}
