#!/bin/bash
# build.sh ARCH...: builds the packages of "make packages" into dist/, for Go's
# architectures; arm7 is ARM with GOARM=7, as in Debian's armhf. The result is
# reproducible: it depends only on the sources, VERSION, and the versions of Go
# and nfpm. All times in it are the commit's.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${VERSION:?}"
# Without a repository: the time of a file from the source archive.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC GOFLAGS=-buildvcs=false GOAMD64=v1 GOARM64=v8.0
unset GOEXPERIMENT
rm -rf dist
mkdir dist

# contents ROOT: what is below usr in there, as nfpm.yaml's contents go on. A tree
# would do, but of its directories nfpm 2.45.0 writes modes that apk cannot read.
contents() {
  local root=$1 path name
  while IFS= read -r path; do
    name=${path#"$root"}
    if [ -L "$path" ]; then
      printf '  - {src: "%s", dst: "%s", type: symlink}\n' "$(readlink "$path")" "$name"
    elif [ ! -d "$path" ]; then
      printf '  - {src: "%s", dst: "%s"}\n' "$path" "$name"
    elif [[ $name/ == */devlog/* ]]; then # the others are not ours
      printf '  - {dst: "%s", type: dir, file_info: {mode: 0o755}}\n' "$name"
    fi
  done < <(find "$root/usr" | sort)
}

for arch in "$@"; do
  # Not below dist/, where only the results are to be.
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  programs=$stage/bin root=$stage/root
  GOOS=linux GOARCH=${arch/%arm7/arm} GOARM=7 make --no-print-directory install BIN="$programs" DESTDIR="$root" VERSION="$VERSION"
  go run ./packaging/modules "$programs"/* >>"$root/usr/share/doc/devlog/copyright"
  find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

  # No directories in it, whose modes and times are the system's, and no
  # configuration: unpacking it in / replaces nothing but an older devlog.
  name=dist/devlog_$(packaging/version.sh deb "$VERSION")_linux_$arch
  (cd "$root" && find usr ! -type d -print0 | sort -z) |
    tar -c -C "$root" --format=gnu --owner=0 --group=0 --numeric-owner --null -T - |
    gzip -9n >"$name.tar.gz"
  for program in "$programs"/*; do
    cyclonedx-gomod bin -json -std -noserial -notimestamp -version "$VERSION" -output "$name.${program##*/}.cdx.json" "$program"
  done

  config=$stage/nfpm.yaml
  cat packaging/nfpm.yaml >"$config"
  contents "$root" >>"$config"
  for kind in deb rpm apk; do
    version=$(packaging/version.sh "$kind" "$VERSION")
    said=$(PACKAGE_VERSION=$version ARCH=$arch STAGE=$root \
      nfpm package --config "$config" --packager "$kind" --target dist/) || {
      echo "$said" >&2 # its errors too
      exit 1
    }
  done
  rm -rf "$stage"
done
cd dist
sha256sum -- * >../SHA256SUMS.new
mv ../SHA256SUMS.new SHA256SUMS
