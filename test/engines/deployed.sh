# shellcheck shell=bash
# The DaemonSet of deploy/kubernetes, as one of its pods: it installs the programs,
# and with the capabilities that it has it repairs pods that run already.
manifest=${MANIFEST-deploy/kubernetes/devlog.yaml}
engine_conf
engine_start

# As on a node with systemd.
ln -s /run/systemd/journal/dev-log /dev/log

# A pod from before, as they are while a node boots.
annotations='{"devlog.dev/log":"on"}' start early
early=$pod early_id=$id
users_mapped=$users
maps_users || users_mapped=
userns=$users_mapped mounts=dev annotations='{"devlog.dev/log":"on"}' start mapped
mapped=$pod mapped_id=$id

capabilities=$(sed -n 's/^ *add: \[\(.*\)\]$/\1/p' $manifest | sed 's/[A-Z_]*/"&"/g; s/""//g')
arguments=$(sed -n '/^ *- --dir=/,/^ *securityContext/p' $manifest | sed -n 's/^ *- //p' | sed 's/^"\(.*\)"$/\1/; s/.*/"&"/' | paste -sd,)
want "the manifest has capabilities and arguments" test "$(grep -o , <<<"$capabilities" | wc -l) $(grep -o -- -- <<<"$arguments" | wc -l)" = '8 6'
cat >/run/daemon.pod <<-END
	{"metadata": {"name": "devlog-x", "namespace": "devlog", "uid": "devlog-uid", "attempt": 1}, "log_directory": "/run/podlogs",
	"annotations": {"devlog.dev/log": "off"},
	"linux": {"cgroup_parent": "/$group", "security_context": {"namespace_options": {"network": 2, "pid": 2}}}}
	END
# member NAME ARGUMENTS CAPABILITIES MOUNTS: describes a container of that pod.
member() {
	cat >"/run/$1.container" <<-END
		{"metadata": {"name": "$1"}, "image": {"image": "localhost/busybox:1"}, "log_path": "$1.log",
		 "command": ["/usr/libexec/devlog/devlog-nri"], "args": [$2], "mounts": [$4],
		 "linux": {"security_context": {"readonly_rootfs": true, "namespace_options": {"network": 2, "pid": 2},
		 "seccomp": {"profile_type": 0}, "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": [$3]}}}}
	END
	crictl create "$daemon" "/run/$1.container" /run/daemon.pod
}
programs='{"container_path":"/opt/devlog","host_path":"/opt/devlog"'
nri='{"container_path":"/var/run/nri","host_path":"/var/run/nri"}'
# deploy: starts the pod as the kubelet does.
deploy() {
	daemon=$(crictl runp /run/daemon.pod)
	local init
	init=$(member install '"install", "/opt/devlog"' '' "$programs}")
	crictl start "$init" >/dev/null
	within 20 exited "$init"
	member=$(member devlog-nri "$arguments" "$capabilities" "$programs,\"readonly\":true}, $nri")
	crictl start "$member" >/dev/null
}
exited() { [ "$(crictl inspect -o go-template --template '{{.status.state}} {{.status.exitCode}}' "$1")" = 'CONTAINER_EXITED 0' ]; }
member_says() { crictl logs "$member" 2>&1 | grep -q "$1"; }
deploy
want "the init container has installed the programs" test -x /opt/devlog/devlog-hook
soon "the plugin is connected" member_says '"msg":"connected"'
want "under the engine's seccomp profile" grep -qx "Seccomp:.2" "/proc/$(pgrep -nx devlog-nri)/status"
pod=$early id=$early_id
soon "a pod from before is repaired" member_says '"msg":"a container that runs has devlog"'
want "it can log" dlog now
soon "and that is in its output" said now
pod=$mapped id=$mapped_id
soon "so is one with the node's /dev${users_mapped:+, and a user namespace}" dlog now
soon "and that is in its output" said now
remove
pod=$early id=$early_id
want "its receiver is not in the plugin's pod" fails grep -qs "$member" "/proc/$(pgrep -nx devlogd)/cgroup"

annotations='{"devlog.dev/log":"on"}' start one
soon "a pod that comes now logs from the first message on" logged one
one=$pod one_id=$id
annotations='{}' start two
want "and one without the annotation has no receiver" receivers 2
remove

# The pod goes and comes again, as when it is upgraded: its programs run meanwhile.
crictl rmp -f "$daemon" >/dev/null 2>&1
pod=$one id=$one_id
want "without it a pod logs" dlog alone
soon "and that arrives" said alone
deploy
soon "it comes again, and installs over programs that run" member_says '"msg":"connected"'
want "the pod logs still" dlog again
soon "and that arrives" said again
remove
pod=$early remove
crictl rmp -f "$daemon" >/dev/null 2>&1
soon "all receivers end" receivers 0
ended 18
