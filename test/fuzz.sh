#!/bin/bash
# Runs every fuzz target that there is, or those whose names match, each for that
# time, as many at once as there are processors. Usage: fuzz.sh TIME [REGEXP]
set -euo pipefail
cd "$(dirname "$0")/.."
time=$1 which=${2:-}

one() {
	local package=$1 target=$2 out ended=0
	if [[ $package == ./nri* ]]; then # a module of its own
		cd nri
		package=.${package#./nri}
	fi
	out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1s -parallel 1 "$package" 2>&1) || ended=$?
	# Go takes the end of the time for a failure now and then.
	if grep -q '^    context deadline exceeded$' <<<"$out" && ! grep -q 'Failing input' <<<"$out"; then
		ended=0
	fi
	if ((ended == 0)) && grep -q '^fuzz: elapsed' <<<"$out"; then # a name that is no target's is no error
		echo "ok   $package $target $(grep -o 'execs: [0-9]*' <<<"$out" | tail -1)"
	else
		echo "FAIL $package $target"
		echo "$out"
		return 1
	fi
}
export -f one
export time

grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . |
	sed 's,/[^/]*:func , ,' | grep -E -- "$which" | sort |
	xargs -P "$(nproc)" -L 1 bash -c 'one "$0" "$1"'
