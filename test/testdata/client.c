/* client [-n COUNT] IDENT PRIORITY TEXT: calls syslog(3), COUNT times with a number after TEXT. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

int main(int argc, char **argv)
{
	int count = 0, i;

	if (argc > 2 && strcmp(argv[1], "-n") == 0) {
		count = atoi(argv[2]);
		argc -= 2;
		argv += 2;
	}
	if (argc != 4) {
		fprintf(stderr, "usage: client [-n COUNT] IDENT PRIORITY TEXT\n");
		return 2;
	}
	openlog(argv[1], LOG_PID, LOG_USER);
	if (count == 0)
		syslog(atoi(argv[2]), "%s", argv[3]);
	for (i = 1; i <= count; i++)
		syslog(atoi(argv[2]), "%s %d.", argv[3], i);
	return 0;
}
