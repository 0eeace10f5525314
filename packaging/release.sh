#!/bin/bash
# release.sh ARCH...: builds the release that the file VERSION names, into dist/: packages,
# archives and SBOMs for Go's architectures, the sources, and all checksums. The same commit,
# built with the same Go, gives identical files.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "release.sh: $*" >&2
  exit 1
}

version=$(cat VERSION)
changes=$(git status --porcelain)
[ -z "$changes" ] || fail "cannot release what is not committed:"$'\n'"$changes"
grep -q "^## \[$version\] - 20[0-9-]*\$" CHANGELOG.md ||
  fail "CHANGELOG.md has no section of $version with a date; hint: ## [$version] - $(date +%F)"
if tagged=$(git rev-parse -q --verify "v$version^{commit}") && [ "$tagged" != "$(git rev-parse HEAD)" ]; then
  fail "$version is released already, of $tagged; hint: set the next version in VERSION"
fi

VERSION=$version packaging/build.sh "$@"
git archive --format=tar --prefix="devlog-$version/" HEAD | gzip -9n >"dist/devlog-$version.tar.gz"
(cd dist && sha256sum -- *.* >SHA256SUMS)
echo "dist/ has devlog $version; to publish it: git tag -s v$version"
