#!/bin/bash
# run.sh [SCENARIO...]: runs scenarios, all *.sh files of this directory that say
# "ended" at their end, each in a node of its own with today's containerd and its
# CRI plugin, and prints a line a check. Needs root and a C compiler, for runc.
#
# The engines are built once, into ${XDG_CACHE_HOME:-/var/cache}/devlog-engines, in
# some three minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=test/engines

: "${CONTAINERD_VERSION:=v2.4.2}"
CRICTL_VERSION=v1.37.0
RUNC_VERSION=v1.5.3

[ "$(id -u)" = 0 ] || {
	echo "run.sh: it needs root" >&2
	exit 1
}
for program in busybox unshare gcc; do
	command -v $program >/dev/null || {
		echo "run.sh: it needs $program: make deps" >&2
		exit 1
	}
done

# built: prints the directory of the engines, which are built if there are none of
# these versions.
built() {
	local cache=${XDG_CACHE_HOME:-/var/cache}/devlog-engines made
	local to=$cache/containerd-$CONTAINERD_VERSION-crictl-$CRICTL_VERSION-runc-$RUNC_VERSION
	if [ ! -d "$to" ]; then
		echo "building the engines, in $to" >&2
		mkdir -p "$cache"
		find "$cache" -maxdepth 1 -name 'new.*' -mmin +120 -exec rm -rf {} + # builds that were interrupted
		made=$(mktemp -d "$cache/new.XXXXXX")
		if ! (
			export GOBIN=$made GOFLAGS='-trimpath -ldflags=-s'
			c=github.com/containerd/containerd/v2/cmd
			CGO_ENABLED=0 go install $c/{containerd,ctr,containerd-shim-runc-v2}@$CONTAINERD_VERSION
			CGO_ENABLED=0 go install sigs.k8s.io/cri-tools/cmd/crictl@$CRICTL_VERSION
			CGO_ENABLED=1 go install github.com/opencontainers/runc@$RUNC_VERSION
		) >"$cache/log" 2>&1; then
			tail -n 30 "$cache/log" >&2
			echo "cannot build the engines: see $cache/log" >&2
			rm -rf "$made"
			return 1
		fi
		mv -T "$made" "$to" # whole now
	fi
	echo "$to"
}

engines=$(built)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/devlog-engines.XXXXXX")
[ -n "${KEEP-}" ] || trap 'rm -rf "$work"' EXIT
ln -s "$engines" "$work/bin"
make --no-print-directory build BIN="$work/devlog" >/dev/null
make --no-print-directory nri BIN="$work/plugin" >/dev/null
$here/image.sh "$work/img.tar" localhost/busybox:1 localhost/pause:1

scenarios=("$@")
(($#)) || mapfile -t scenarios < <(grep -lE '^ended [0-9]+' $here/*.sh)
status=0
for scenario in "${scenarios[@]}"; do
	[ -f "$scenario" ] || scenario=$here/$scenario.sh
	name=$(basename "$scenario" .sh)
	echo "---- $name"
	WORK=$work timeout "${ENGINE_TIMEOUT:-300}" $here/node.sh "$scenario" 2>"$work/$name.err" | tee "$work/$name.out" || true
	if grep -q '^FAIL' "$work/$name.out" || ! grep -qx "end  $name" "$work/$name.out"; then
		status=1
		echo "FAIL scenario $name"
		tail -n 20 "$work/$name.err" "$work"/log/"$name".* 2>/dev/null || true
	fi
	# What the node's containers were in.
	find /sys/fs/cgroup -depth -type d -path "*/devlog-engines-$(basename "$work")*" -exec rmdir {} + 2>/dev/null || true
done
exit $status
