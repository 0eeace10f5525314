#!/bin/sh
# version.sh deb|rpm|apk VERSION: prints VERSION (from describe.sh) in that kind of
# package's form. Packages sort in the order of their sources: release candidates and
# earlier commits before a release, later commits after it.
set -eu
kind=$1 version=$2

dirty=${version##*-dirty}
[ -n "$dirty" ] || version=${version%-dirty}

# [v]MAJOR.MINOR.PATCH[-PRERELEASE][-COMMITS-gHASH]
if ! printf '%s\n' "$version" | grep -Eqx 'v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?'; then
	echo "version.sh: no version: $version; want MAJOR.MINOR.PATCH" >&2
	exit 2
fi
since=$(printf %s "$version" | sed -nE 's/.*-([0-9]+-g[0-9a-f]+)$/\1/p')
base=${version#v}
[ -z "$since" ] || base=${base%-"$since"}
pre=${base#"${base%%-*}"} pre=$(printf %s "${pre#-}" | tr - .)
base=${base%%-*}

case $kind in
deb | rpm)
	out=$base${pre:+"~$pre"}
	[ -z "$since" ] || out=$out+$(printf %s "$since" | tr - .)
	[ -n "$dirty" ] || out=$out+dirty
	;;
apk) # a number, and suffixes from a fixed list: apk-package(5)
	[ -z "$pre" ] || case $pre in
	alpha* | beta* | rc*) pre=$(printf %s "$pre" | tr -cd 0-9a-z) ;;
	*) pre=pre$(printf %s "$pre" | tr -cd 0-9) ;;
	esac
	out=$base${pre:+"_$pre"}${since:+"_git${since%%-*}"}
	;;
*)
	echo "version.sh: no kind of package: $kind" >&2
	exit 2
	;;
esac
printf '%s\n' "$out"
