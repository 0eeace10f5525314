#!/bin/bash
# run.sh [SUITE...]: runs the scenarios of guest/ on a host of each Debian suite, a real
# system in a virtual machine, and prints a line for each check.
#
# run.sh --shell SUITE: a shell on such a host, as root without a password;
# Ctrl-A x ends it. The scenarios are in /test there: see docs/contributing.md.
#
# SCENARIOS='1-10-install 1-60-ship' runs only these. MESSAGES=100000 sets how many
# messages the last one logs.
#
# Hosts are built once, into ${XDG_CACHE_HOME:-/var/cache}/devlog-hosts.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=test/hosts
cache=${XDG_CACHE_HOME:-/var/cache}/devlog-hosts
: "${HOST_TIMEOUT:=5400}" # for all of a suite's run; a scenario may take 1800 seconds or more (guest/boot.sh)

shell=
if [ "${1-}" = --shell ]; then
  shell=yes
  shift
fi
(($#)) || set -- bookworm

deps() {
  local need=() n
  # command:package
  for n in debootstrap:debootstrap qemu-system-x86_64:qemu-system-x86 cpio:cpio zstd:zstd xz:xz-utils mkfs.ext4:e2fsprogs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${n%%:*}" >/dev/null || need+=("${n##*:}")
  done
  ((${#need[@]})) || return 0
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${need[@]}" >/dev/null
}

# built SUITE: prints the directory of the suite's host, and builds it if it is missing or
# outdated.
built() {
  local suite=$1 stamp to made
  stamp=$(cat $here/build.sh $here/boot.sh | sha256sum | cut -c1-12)
  to=$cache/$suite-$stamp
  if [ ! -d "$to" ]; then
    echo "$suite: building the host, in $to" >&2
    mkdir -p "$cache"
    find "$cache" -maxdepth 1 -name 'new.*' -mmin +120 -exec rm -rf {} + # builds that were interrupted
    made=$(mktemp -d "$cache/new.XXXXXX")
    if ! $here/build.sh "$suite" "$made" >"$cache/$suite.log" 2>&1; then
      tail -n 30 "$cache/$suite.log" >&2
      echo "$suite: cannot build the host: see $cache/$suite.log" >&2
      rm -rf "$made"
      return 1
    fi
    rm -rf "$cache/$suite"-*
    mv -T "$made" "$to" # whole now
  fi
  echo "$to"
}

# packages DIR: two packages of this tree, the second one of a later version.
packages() {
  local version
  for version in 99.0.0 ''; do
    make --no-print-directory packages ARCHES=amd64 ${version:+VERSION=$version} >/dev/null
    cp dist/devlog_*_amd64.deb "$1/$([ "$version" ] && echo newer || echo current).deb"
  done
}

[ "$(id -u)" = 0 ] || {
  echo "run.sh: it needs root" >&2
  exit 1
}
deps
work=$(mktemp -d "${TMPDIR:-/var/tmp}/devlog-hosts.XXXXXX")
[ -n "${KEEP-}" ] || trap 'rm -rf "$work"' EXIT
mkdir "$work/test"
cp $here/guest/* docs/runtimes.md "$work/test/"
if [ -n "${SCENARIOS-}" ]; then
  rm "$work"/test/[0-9]*.sh
  for scenario in $SCENARIOS; do cp "$here/guest/$scenario.sh" "$work/test/"; done
fi
echo "${MESSAGES:+export MESSAGES=$MESSAGES}" >"$work/test/settings"
packages "$work/test"
[ -z "$shell" ] || printf '#!/bin/sh\n' >"$work/test/boot.sh" # nothing runs by itself
tar -C "$work/test" -cf "$work/test.tar" .

failed=0
for suite in "$@"; do
  host=$(built "$suite")
  cp --sparse=always "$host/disk.img" "$work/disk.img"
  if [ "$shell" ]; then
    $here/boot.sh "$host" "$work/disk.img" "$work/test.tar" -serial mon:stdio
    exit
  fi
  began=$SECONDS
  : >"$work/checks"
  # The machine ends with this script, even if that is killed.
  setpriv --pdeathsig TERM timeout --kill-after=10 "$HOST_TIMEOUT" $here/boot.sh "$host" "$work/disk.img" "$work/test.tar" \
    -serial "file:$work/console" -serial "file:$work/checks" -serial "file:$work/log" ||
    echo "$suite: the machine ended with exit code $?" >&2
  mkdir -p dist/hosts
  cp "$work/checks" "dist/hosts/$suite.checks"
  cp "$work/console" "dist/hosts/$suite.console"
  cp "$work/log" "dist/hosts/$suite.log"
  if $here/judge.sh "$suite" "dist/hosts/$suite.checks" "$work/test"; then
    printf 'ok\t%s: all checks, in %d s\n' "$suite" $((SECONDS - began))
  else
    failed=1
    echo "--- the end of $suite's console; all of it, and the scenarios' output: dist/hosts/$suite.*" >&2
    tail -n 40 "$work/console" >&2
  fi
done
exit $failed
