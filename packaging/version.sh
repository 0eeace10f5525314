#!/bin/sh
# version.sh deb|rpm|apk VERSION DATE: VERSION, as "git describe --tags --always
# --dirty" gives it, as that kind of package writes it. Packages sort as their
# sources do: a release candidate is before its release, and what was committed
# after a release is behind it. Without a tag the DATE (yyyymmdd) says which
# version is the newer one.
set -eu
kind=$1 version=$2 date=$3

dirty=${version##*-dirty}
[ -n "$dirty" ] || version=${version%-dirty}

# [v]MAJOR.MINOR.PATCH[-PRERELEASE][-COMMITS-gHASH]
if ! printf '%s\n' "$version" | grep -Eqx 'v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?'; then
	hash=$(printf %s "$version" | tr -cd 0-9A-Za-z.)
	base=0.0.0 pre= since=
	snapshot=git$date.$hash
else
	snapshot=
	since=$(printf %s "$version" | sed -nE 's/.*-([0-9]+-g[0-9a-f]+)$/\1/p')
	base=${version#v}
	[ -z "$since" ] || base=${base%-"$since"}
	pre=${base#"${base%%-*}"} pre=$(printf %s "${pre#-}" | tr - .)
	base=${base%%-*}
fi

case $kind in
deb | rpm)
	out=$base${pre:+"~$pre"}${snapshot:+"~$snapshot"}
	[ -z "$since" ] || out=$out+$(printf %s "$since" | tr - .)
	[ -n "$dirty" ] || out=$out+dirty
	;;
apk) # a number, and suffixes from a fixed list: apk-package(5)
	[ -z "$pre" ] || case $pre in
	alpha* | beta* | rc*) pre=$(printf %s "$pre" | tr -cd 0-9a-z) ;;
	*) pre=pre$(printf %s "$pre" | tr -cd 0-9) ;;
	esac
	out=$base${pre:+"_$pre"}${snapshot:+"_git$date"}${since:+"_git${since%%-*}"}
	;;
*)
	echo "version.sh: no kind of package: $kind" >&2
	exit 2
	;;
esac
printf '%s\n' "$out"
