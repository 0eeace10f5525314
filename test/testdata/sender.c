/*
 * sender keep|again|look ID COUNT: sends messages with a number each to /dev/log, over one connection or with a new
 * one for each, until SIGTERM and at least COUNT; look sends nothing, and looks instead whether it leads to a listener.
 * The answer is one line: how many, how many times a call failed, and how the first one did.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* So many at full speed, then a pause: the test is about names, and others want to run too. */
enum { BURST = 100, PAUSE_NS = 50 * 1000 * 1000 };

static long failed;
static char first[100] = "-";
static int stream;

static void fail(const char *call, long at)
{
	if (failed++ == 0)
		snprintf(first, sizeof(first), "%s at %ld: %s", call, at, strerror(errno));
}

static int dial(long at)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	int i, s = -1;

	for (i = 0; i < 2; i++) { /* as syslog(3) does: the other type if this one is not it */
		s = socket(AF_UNIX, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
		if (connect(s, (struct sockaddr *)&addr, sizeof(addr)) == 0)
			return s;
		if (errno != EPROTOTYPE)
			break;
		close(s);
		stream = !stream;
		s = -1;
	}
	fail("connect", at);
	close(s);
	return -1;
}

int main(int argc, char **argv)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	struct timespec pause = { .tv_nsec = PAUSE_NS };
	char text[100];
	struct stat st;
	int s = -1, ended = 0, keep, look;
	long n, count;

	if (argc != 4)
		return 2;
	keep = strcmp(argv[1], "keep") == 0;
	look = strcmp(argv[1], "look") == 0;
	count = atol(argv[3]);
	if (look)
		pause.tv_nsec /= 20;
	for (n = 0; !ended || n < count; n++) {
		if (n % BURST == 0) {
			nanosleep(&pause, NULL);
			ended = poll(&in, 1, 0) > 0;
		}
		if (look && stat("/dev/log", &st) != 0)
			fail("stat", n);
		if (s < 0)
			s = dial(n);
		if (!look && s >= 0) {
			int len = snprintf(text, sizeof(text), "<13>Jan  1 00:00:00 sender: %s %ld.", argv[2], n);

			/* A stream's messages end in NUL. */
			if (send(s, text, len + stream, MSG_NOSIGNAL) != len + stream)
				fail("send", n);
		}
		if (!keep && s >= 0) {
			close(s);
			s = -1;
		}
	}
	printf("%ld %ld %s\n", n, failed, first);
	return 0;
}
