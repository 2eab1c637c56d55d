/* The program that holds a pod's network namespace: it waits, and takes in orphans as process 1. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void ends(int signal) {
	(void)signal;
	_exit(0);
}

static void orphan(int signal) {
	(void)signal;
	while (waitpid(-1, 0, WNOHANG) > 0) {
	}
}

int main(void) {
	signal(SIGINT, ends);
	signal(SIGTERM, ends);
	signal(SIGCHLD, orphan);
	for (;;) {
		pause();
	}
}
