# shellcheck shell=bash
# Containers of every shape, each with the host's /dev and without, with Debian 13's
# podman and Docker. The host is as the scenarios before have left it.
[ "$VERSION_CODENAME" = trixie ] || {
	ended 0
	return
}
mkdir -p /etc/cdi
devlog-hook config cdi >/etc/cdi/devlog.json
sed -i '0,/{/s//{"features": {"cdi": true},/' /etc/docker/daemon.json
systemctl restart docker

rules='devlog.dev/rules=*.* container-stdout'
podman=(podman run -d --network none --annotation "$rules" --name)
docker=(docker run -d --network none --annotation "$rules" --name)
# said ENGINE NAME: the container's first message is in its output, once.
said() { [ "$("$1" logs "$2" 2>&1 | grep -c ': hello$')" = 1 ]; }
# shape ENGINE NAME OPTION...: a container with these options has its first message in
# its output.
shape() {
	local -n run=$1
	"${run[@]}" "$2" "${@:3}" localhost/bb sh -c 'logger -t app hello; sleep 1000' || :
	soon "shapes: $1, $2: the first message arrives" said "$1" "$2"
	"$1" kill "$2" || :
	"$1" rm -f "$2" || :
}
docker tag bb localhost/bb
podman run -d --network none --name other localhost/bb sleep 1000
docker run -d --network none --name other localhost/bb sleep 1000
for engine in podman docker; do
	on=(--annotation devlog.dev/log=on)
	[ $engine = podman ] || on=(--runtime devlog)
	for dev in own host; do
		mounts=()
		[ $dev = own ] || mounts=(-v /dev:/dev)
		shape $engine $dev-privileged "${on[@]}" "${mounts[@]}" --privileged
		shape $engine $dev-host-pid "${on[@]}" "${mounts[@]}" --pid host
		shape $engine $dev-shared-pid "${on[@]}" "${mounts[@]}" --pid container:other
		shape $engine $dev-uid-1000 "${on[@]}" "${mounts[@]}" --user 1000
		[ $engine = docker ] || shape podman $dev-user-namespace "${on[@]}" "${mounts[@]}" --uidmap 0:100000:65536 --gidmap 0:100000:65536
		shape $engine $dev-cdi "${mounts[@]}" --device devlog.dev/log=on
	done
	shape $engine read-only "${on[@]}" -v /dev:/dev:ro
	$engine kill other
	$engine rm -f other
done
soon "shapes: all their receivers end" fails eval "devlog-hook list | grep -Eq '(own|host)-|read-only'"
want "shapes: no unit has failed" no_failed_units
ended 26
