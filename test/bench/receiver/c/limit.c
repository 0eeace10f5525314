// limit SOCKET FILE: what a receiver is compared with. It takes all messages that are
// queued with one recvmmsg(2) and appends them to the file with one write(2): it neither
// parses nor checks nor formats, so that what it needs is what the kernel needs.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { slots = 64, size = 64 << 10 };

static char slot[slots][size + 1], gathered[slots * (size + 1)];

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct mmsghdr header[slots] = {0};
	struct iovec part[slots];

	if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) {
		fprintf(stderr, "usage: limit SOCKET FILE\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	int in = socket(AF_UNIX, SOCK_DGRAM, 0);
	int out = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (out < 0)
		return fail(argv[2]);
	if (in < 0 || bind(in, (struct sockaddr *)&address, sizeof address))
		return fail(argv[1]);
	for (int i = 0; i < slots; i++) {
		part[i] = (struct iovec){slot[i], size};
		header[i].msg_hdr.msg_iov = &part[i];
		header[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		int n = recvmmsg(in, header, slots, MSG_WAITFORONE, NULL);
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
