#!/bin/sh
# describe.sh: prints the version of these sources: the file VERSION if its tag is on the newest
# commit, or without a repository, as in a release's archive. Otherwise the number of commits
# since the tag (before the tag: of all commits) and the newest one's hash follow.
set -eu
cd "$(dirname "$0")/.."
version=$(cat VERSION)
if ! hash=$(git rev-parse --short --verify -q HEAD 2>/dev/null) || [ -n "$(git rev-parse --show-prefix)" ]; then
	echo "$version"
	exit
fi
dirty=
git diff-index --quiet HEAD -- 2>/dev/null || dirty=-dirty
if since=$(git rev-list --count "v$version..HEAD" 2>/dev/null); then
	[ "$since" = 0 ] || version=$version-$since-g$hash
else
	version=$version-dev-$(git rev-list --count HEAD)-g$hash
fi
echo "$version$dirty"
