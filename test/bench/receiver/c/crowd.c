// crowd DIR NUMBER: what a host's service is compared with. It is limit for so many
// sockets, DIR/0/socket and so on, each with a file DIR/0/log of its own.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { slots = 64, size = 64 << 10, turns = 8 };

static char slot[slots][size + 1], gathered[slots * (size + 1)];

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct mmsghdr header[slots] = {0};
	struct iovec part[slots];
	struct epoll_event ready[slots];

	if (argc != 3) {
		fprintf(stderr, "usage: crowd DIR NUMBER\n");
		return 2;
	}
	int number = atoi(argv[2]), poll = epoll_create1(0);
	struct { int in, out; } *all = calloc(number, sizeof *all);
	for (int i = 0; i < number; i++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		char log[4096];
		snprintf(address.sun_path, sizeof address.sun_path, "%s/%d/socket", argv[1], i);
		snprintf(log, sizeof log, "%s/%d/log", argv[1], i);
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
		all[i].in = socket(AF_UNIX, SOCK_DGRAM, 0);
		all[i].out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (all[i].out < 0)
			return fail(log);
		if (all[i].in < 0 || bind(all[i].in, (struct sockaddr *)&address, sizeof address) || epoll_ctl(poll, EPOLL_CTL_ADD, all[i].in, &e))
			return fail(address.sun_path);
	}
	for (int i = 0; i < slots; i++) {
		part[i] = (struct iovec){slot[i], size};
		header[i].msg_hdr.msg_iov = &part[i];
		header[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		int events = epoll_wait(poll, ready, slots, -1);
		if (events < 0)
			return fail("epoll_wait");
		for (int e = 0; e < events; e++) {
			int in = all[ready[e].data.u32].in, out = all[ready[e].data.u32].out, n = slots;
			for (int turn = 0; turn < turns && n > 1; turn++) {
				n = recvmmsg(in, header, slots, MSG_DONTWAIT, NULL);
				if (n < 0 && errno == EAGAIN)
					break;
				if (n < 0)
					return fail("recvmmsg");
				char *end = gathered;
				for (int i = 0; i < n; i++) {
					end = mempcpy(end, slot[i], header[i].msg_len);
					*end++ = '\n';
				}
				if (write(out, gathered, end - gathered) != end - gathered)
					return fail("write");
			}
		}
	}
}
