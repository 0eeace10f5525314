#!/bin/bash
# micro.sh BENCHSTAT COUNT [REVISION]: runs the micro-benchmarks of what a message passes
# through, and compares them with those of another revision. The two take turns, so that
# both see the machine as it is at that time.
set -euo pipefail
cd "$(dirname "$0")/../.."
benchstat=$1 count=$2 base=${3:-}
packages="syslog syslogconf logfile sink receiver"

work=$(mktemp -d)
[[ ! -w /dev/shm ]] || export TMPDIR=/dev/shm # for the files that are written: no disk is to be measured
trap 'rm -rf "$work"; git worktree prune' EXIT
trees=(.)
if [[ -n $base ]]; then
	git worktree add --quiet --detach "$work/base" "$base"
	trees=("$work/base" .)
fi
name_of() { [[ $1 == . ]] && echo new || echo "${base//\//-}"; }

for tree in "${trees[@]}"; do
	mkdir "$work/$(name_of "$tree")"
	for p in $packages; do
		(cd "$tree" && go test -c -o "$work/$(name_of "$tree")/$p" "./internal/$p")
	done
done
for ((i = 0; i < count; i++)); do
	for tree in "${trees[@]}"; do
		for p in $packages; do
			(cd "$tree/internal/$p" && "$work/$(name_of "$tree")/$p" -test.run '^$' -test.bench . -test.benchmem -test.benchtime "${BENCHTIME:-200ms}")
		done >>"$work/$(name_of "$tree").txt"
	done
done
files=()
for tree in "${trees[@]}"; do files+=("$(name_of "$tree")=$work/$(name_of "$tree").txt"); done
"$benchstat" "${files[@]}"
