# shellcheck shell=bash
# What the containers of 1-90-shutdown.sh logged until the host's shutdown.
for name in {hand,unit,docker,unit-lxc,hand-lxc}{,-o} {hand,unit}-lxc-i; do want "the shutdown has lost nothing of $name" complete $name; done
podman rm -f --all >/dev/null
docker rm -f docker docker-o >/dev/null
ended 12
