#!/bin/bash
# judge.sh SUITE CHECKS DIR: prints what the file CHECKS has of a run on the suite's host,
# a line a check, and fails if one has failed, or a scenario of DIR has not come to its end:
# a host that hangs or dies has checked nothing.
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
