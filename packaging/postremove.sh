#!/bin/sh
# Runs after the package is removed, not after an upgrade (see preremove.sh). An
# engine also stops and deletes a container by the runtime that started it. If a
# running container was started with devlog-runtime, this leaves a script in its place
# that becomes the real runtime, as devlog-runtime did.
set -e
case "${1-}" in
remove | 0) ;;
purge) rm -f /etc/systemd/system/sockets.target.wants/devlogd.socket && exit 0 ;;
*) exit 0 ;;
esac

# used NAME...: a running container's runtime has one of the names. A shim of
# containerd's writes it to the container's bundle (below /run/containerd, those of
# Docker, k3s and others further down), conmon of podman and CRI-O has it in its
# command line.
used() {
	for bundles in /run/*/io.containerd.runtime.v2.task /run/*/*/io.containerd.runtime.v2.task \
		/run/*/*/*/io.containerd.runtime.v2.task; do
		if printf '%s\n' "$@" | grep -qsxF -f - "$bundles"/*/*/runtime; then
			return 0
		fi
	done
	printf '%s\n' "$@" | grep -qszxF -f - /proc/[0-9]*/cmdline
}

# leave PATH NAME...: leaves the script at PATH if a container's runtime has that name
# or one of the others.
left=
leave() {
	if [ -e "$1" ] || ! used "$@"; then
		return 0
	fi
	mkdir -p "${1%/*}"
	cat >"$1" <<-END
		#!/bin/sh
		# Left by the removal of devlog: containers that were started with devlog-runtime
		# cannot be stopped without it. Remove this file once they have ended.
		exec "\${DEVLOG_RUNTIME:-$runc}" "\$@"
	END
	chmod 755 "$1"
	left="${left:+$left and }$1"
}

runc=$(command -v runc) || runc=runc
leave /usr/libexec/devlog/devlog-runtime
leave /usr/bin/devlog-runtime /bin/devlog-runtime devlog-runtime
[ -z "$left" ] || echo "devlog: left in place of devlog-runtime, for running containers that could not be stopped without it: $left;" \
	"remove it once they have ended" >&2
