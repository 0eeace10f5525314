#!/bin/bash
# judge.sh SUITE CHECKS DIR: prints the checks of a run on the suite's host from the file
# CHECKS, one a line. It fails if a check failed, or if a scenario of DIR did not end, as on
# a host that hangs or dies.
set -euo pipefail
suite=$1 checks=$2 dir=$3
said=$(tr -d '\r\0' <"$checks")
sed -n "s/^\(ok\|FAIL\) */\1\t$suite: /p" <<<"$said"
failed=0
! grep -q '^FAIL ' <<<"$said" || failed=1
for file in "$dir"/[0-9]*.sh; do
  if ! grep -qx "end  ${file##*/}" <<<"$said"; then
    printf 'FAIL\t%s: %s did not come to its end\n' "$suite" "${file##*/}"
    failed=1
  fi
done
exit $failed
