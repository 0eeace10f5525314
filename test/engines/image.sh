#!/bin/bash
# image.sh OUT.tar PROGRAMS NAME...: an OCI layout of one image with busybox and the
# files of the directory PROGRAMS in /usr/libexec/devlog, under all NAMEs
# (image-spec, image-layout.md). No registry is needed.
set -eu
out=$1 programs=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
blobs=$work/layout/blobs/sha256
mkdir -p "$work"/root/{bin,dev,proc,sys,etc,tmp,run,var/log} "$blobs"
cp /bin/busybox "$work/root/bin/busybox"
for a in sh sleep logger cat ls mount stat id ps env echo true ln rm readlink test; do ln -s busybox "$work/root/bin/$a"; done
mkdir -p "$work/root/usr/libexec/devlog" "$work/root/opt/devlog" "$work/root/var/run/nri"
cp "$programs"/* "$work/root/usr/libexec/devlog/"
printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$work/root/etc/passwd"
printf 'root:x:0:\n' >"$work/root/etc/group"
tar -C "$work/root" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$work/layer.tar" .

# blob FILE: stores it by its digest; sets digest and size.
blob() {
	digest=$(sha256sum <"$1" | cut -d' ' -f1)
	size=$(stat -c %s "$1")
	mv "$1" "$blobs/$digest"
}
blob "$work/layer.tar"
layer=$digest layer_size=$size
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sleep","100000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
	"$(go env GOARCH)" "$layer" >"$work/config"
blob "$work/config"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
	"$digest" "$size" "$layer" "$layer_size" >"$work/manifest"
blob "$work/manifest"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/layout/oci-layout"
separator=
{
	printf '{"schemaVersion":2,"manifests":['
	for name in "$@"; do
		printf '%s{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"platform":{"architecture":"%s","os":"linux"},"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}' \
			"$separator" "$digest" "$size" "$(go env GOARCH)" "$name" "${name##*:}"
		separator=,
	done
	printf ']}'
} >"$work/layout/index.json"
tar -C "$work/layout" -cf "$out" .
