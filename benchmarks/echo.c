/* The floor of a round trip: a Unix socket server that sends back what it gets, one process a connection. */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char buffer[1 << 20];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc != 2 || listener < 0)
		return 1;
	signal(SIGCHLD, SIG_IGN);
	strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64))
		return 1;
	for (;;) {
		int peer = accept(listener, 0, 0);
		ssize_t count;

		if (fork()) {
			close(peer);
			continue;
		}
		while ((count = read(peer, buffer, sizeof buffer)) > 0)
			if (write(peer, buffer, count) != count)
				break;
		_exit(0);
	}
}
