/*
 * numbered keep|again ID: sends numbered messages to /dev/log as syslog(3) does, over one connection for as long as
 * that works or with a new one for each, ten in a tenth of a second, and as many more at once as its standard input
 * has bytes, times 1000; until that ends. It writes a line about each:
 *   NUMBER ERRNO CONNECTING CONNECTED SENDING SENT
 * The times are those of CLOCK_MONOTONIC in microseconds.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 10, PAUSE_MS = 100, MORE = 1000, PAD = 200 };

static int s = -1;
static long long connecting, connected;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void hang_up(void)
{
	if (s >= 0)
		close(s);
	s = -1;
}

static int dial(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	connecting = now();
	if (s < 0 || connect(s, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		int failed = errno;

		hang_up();
		return failed;
	}
	connected = now();
	return 0;
}

/* As vsyslog(3): where a connection does not work any more, one more is tried. */
static int post(const char *text, int len)
{
	int failed = 0, i;

	for (i = 0; i < 2; i++) {
		if (s < 0 && (failed = dial()) != 0)
			return failed;
		if (send(s, text, len, MSG_NOSIGNAL) == len)
			return 0;
		failed = errno;
		hang_up();
	}
	return failed;
}

int main(int argc, char **argv)
{
	char pad[PAD + 1], text[PAD + 100], line[200], in[100];
	int keep, left = 0;
	long n;

	if (argc != 3)
		return 2;
	keep = strcmp(argv[1], "keep") == 0;
	memset(pad, 'x', PAD);
	for (n = 0;; n++) {
		long long sending;
		int failed, len;

		if (left-- <= 0) {
			struct pollfd p = { .fd = 0, .events = POLLIN };
			ssize_t more = 0;

			left = BURST - 1;
			if (poll(&p, 1, PAUSE_MS) > 0 && (more = read(0, in, sizeof(in))) <= 0)
				return 0;
			left += more * MORE;
		}
		len = snprintf(text, sizeof(text), "<13>Jan  1 00:00:00 sender: %s %ld %.*s.", argv[2], n, (int)(n % PAD), pad);
		sending = now();
		failed = post(text, len);
		len = snprintf(line, sizeof(line), "%ld %d %lld %lld %lld %lld\n", n, failed, connecting, connected, sending, now());
		if (write(1, line, len) != len)
			return 1;
		if (!keep)
			hang_up();
	}
}
