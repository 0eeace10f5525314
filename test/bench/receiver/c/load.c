// load -n SENDERS -m MESSAGES -b BYTES -r RATE -o FILE SOCKET[,LOG]...: each sender is a
// process that sends so many messages of so many bytes as syslog(3) does, to one socket
// after the other, RATE a second or (0) as fast as it goes. FILE gets the nanoseconds that
// each send(2) took, uint32_t, by sender and message. Where LOGs are named, the sender
// waits after each message until the log changes, and a second array follows: the
// nanoseconds from the send until it saw that, UINT32_MAX if it did not in a second. It
// prints when the first message was sent and when the last had been, in nanoseconds since
// 1970.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const uint64_t second = 1000000000;

struct target {
	const char *path, *log;
	int fd, change;
};

static long senders = 1, messages = 1000, bytes = 120, rate;
static struct target *targets;
static int count, changes;

static uint64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * second + t.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void dial(struct target *t)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(t->path) >= sizeof address.sun_path)
		fail(t->path);
	strcpy(address.sun_path, t->path);
	t->fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&address, sizeof address))
		fail(t->path);
}

static void watch(struct target *t)
{
	t->change = inotify_add_watch(changes, t->log, IN_MODIFY);
	if (t->change < 0)
		fail(t->log);
}

// arrival waits until the target's log changes.
static int arrival(struct target *t)
{
	_Alignas(struct inotify_event) char events[4096];
	struct pollfd p = {changes, POLLIN, 0};
	while (poll(&p, 1, 1000) > 0) {
		ssize_t n = read(changes, events, sizeof events);
		for (char *e = events; e < events + n; e += sizeof(struct inotify_event) + ((struct inotify_event *)e)->len)
			if (((struct inotify_event *)e)->wd == t->change)
				return 1;
	}
	return 0;
}

static void sender(int number, int gate, uint32_t *took, uint32_t *arrived)
{
	char *text = malloc(bytes + 128), stamp[32];
	time_t stamped = 0;
	changes = inotify_init1(IN_NONBLOCK);
	for (int i = 0; i < count; i++) {
		dial(&targets[i]);
		if (targets[i].log)
			watch(&targets[i]);
	}
	prctl(PR_SET_TIMERSLACK, 1);
	if (read(gate, text, 1) < 0)
		fail("wait for the others");
	uint64_t begin = now(CLOCK_MONOTONIC);
	for (long k = 0; k < messages; k++) {
		struct target *t = &targets[k % count];
		if (rate) {
			uint64_t due = begin + k * second / rate;
			struct timespec ts = {due / second, due % second};
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		}
		time_t today = time(NULL);
		if (today != stamped) {
			strftime(stamp, sizeof stamp, "%b %e %T", localtime(&today));
			stamped = today;
		}
		int n = sprintf(text, "<14>%s load[%d]: run %d %ld ", stamp, 1000 + number, number, k);
		while (n < bytes - 1)
			text[n++] = 'x';
		text[n++] = '.';
		uint64_t before = now(CLOCK_MONOTONIC);
		if (send(t->fd, text, n, MSG_NOSIGNAL) != n)
			fail("send");
		uint64_t ns = now(CLOCK_MONOTONIC) - before;
		took[k] = ns < UINT32_MAX ? ns : UINT32_MAX;
		if (t->log)
			arrived[k] = arrival(t) ? now(CLOCK_MONOTONIC) - before : UINT32_MAX;
	}
	exit(0);
}

int main(int argc, char **argv)
{
	const char *out = NULL;
	for (int o; (o = getopt(argc, argv, "n:m:b:r:o:")) != -1;)
		switch (o) {
		case 'n': senders = atol(optarg); break;
		case 'm': messages = atol(optarg); break;
		case 'b': bytes = atol(optarg); break;
		case 'r': rate = atol(optarg); break;
		case 'o': out = optarg; break;
		default: return 2;
		}
	count = argc - optind;
	if (!out || count < 1 || senders < 1 || messages < 1) {
		fprintf(stderr, "usage: load -n SENDERS -m MESSAGES -b BYTES -r RATE -o FILE SOCKET[,LOG]...\n");
		return 2;
	}
	targets = calloc(count, sizeof *targets);
	for (int i = 0; i < count; i++) {
		targets[i].path = strtok(argv[optind + i], ",");
		targets[i].log = strtok(NULL, ",");
	}
	size_t n = senders * messages, length = (targets[0].log ? 2 : 1) * n * sizeof(uint32_t);
	int fd = open(out, O_RDWR | O_CREAT | O_TRUNC, 0644), gate[2];
	if (fd < 0 || ftruncate(fd, length) || pipe(gate))
		fail(out);
	uint32_t *took = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (took == MAP_FAILED)
		fail(out);
	memset(took, 0, length); // no page is to be made while it is measured
	for (int i = 0; i < senders; i++) {
		pid_t pid = fork();
		if (pid < 0)
			fail("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(gate[1]);
			sender(i, gate[0], took + i * messages, took + n + i * messages);
		}
	}
	usleep(20000); // all are at the gate
	uint64_t begin = now(CLOCK_REALTIME);
	close(gate[1]);
	int bad = 0, status;
	while (wait(&status) > 0)
		bad |= status;
	printf("%llu %llu\n", (unsigned long long)begin, (unsigned long long)now(CLOCK_REALTIME));
	return bad != 0;
}
