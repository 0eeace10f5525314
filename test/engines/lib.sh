# shellcheck shell=bash
# What scenarios share: a containerd with CRI, pods, the plugin, and checks.
socket=/run/containerd/containerd.sock
containerd=0 plugin=0 checks=0
data=$WORK/data.$BASHPID group=devlog-engines-$(basename "$WORK")
scenario=$(basename "$1" .sh)
export CONTAINERD_ADDRESS=$socket
printf 'runtime-endpoint: unix://%s\nimage-endpoint: unix://%s\ntimeout: 30\n' $socket $socket >/etc/crictl.yaml
mkdir -p "$data" "$WORK/log"

ok() { checks=$((checks + 1)) && echo "ok   $*"; }
bad() { checks=$((checks + 1)) && echo "FAIL $*" && touch "$WORK/failed"; }

# want WHAT COMMAND...: a check that is ok if the command succeeds.
want() {
	local what=$1
	shift
	if "$@" >"$WORK/said" 2>&1; then ok "$what"; else
		bad "$what ($*)"
		sed 's/^/     /' "$WORK/said"
	fi
}

# soon WHAT COMMAND...: a check that is ok once the command succeeds, within 20
# seconds.
soon() {
	local what=$1
	shift
	if within 20 "$@" >"$WORK/said" 2>&1; then ok "$what"; else
		bad "$what ($*)"
		sed 's/^/     /' "$WORK/said"
	fi
}

# within SECONDS COMMAND...: waits until the command succeeds; fails after that time.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}
fails() { ! "$@"; }

# ended NUMBER: the last line of a scenario. It has made that number of checks.
ended() {
	[ $checks = "$1" ] || bad "it made $checks checks, not $1"
	echo "end  $scenario"
}

# engine_conf: this containerd's own default configuration, with our pause image and
# directories, and NRI and CDI switched on. Root may lack CAP_SYS_RESOURCE here.
engine_conf() {
	containerd config default | sed -e "s|^root = .*|root = '$data'|" -e 's|restrict_oom_score_adj = false|restrict_oom_score_adj = true|' \
		-e "s|registry.k8s.io/pause:[0-9.]*|localhost/pause:1|" \
		-e 's/enable_cdi = false/enable_cdi = true/' \
		-e '/io.containerd.nri.v1.nri/,/disable/s/disable = true/disable = false/' >/etc/containerd/config.toml
}
# one: it is containerd 1, whose file has no directory for more files, and which may
# lack NRI.
one() { containerd --version | grep -q ' v\?1\.'; }
has_nri() { grep -q io.containerd.nri.v1.nri /etc/containerd/config.toml; }
# validates: NRI's default validator is there, and on.
validates() { sed -n '/nri.*default_validator/,/required/p' /etc/containerd/config.toml | grep -q 'enable = true'; }
# containerd 2.4 has no option for it, and it is always on.
has_cdi() { grep -q cdi_spec_dirs /etc/containerd/config.toml; }

engine_start() {
	containerd -c /etc/containerd/config.toml >>"$WORK/log/$scenario.containerd" 2>&1 &
	containerd=$!
	within 20 crictl version >/dev/null 2>&1
	ctr -n k8s.io images import --all-platforms "$WORK/img.tar" >/dev/null
}

engine_stop() {
	kill $containerd
	wait $containerd 2>/dev/null || true
}

# install [DIR]: puts the programs on the node.
install() { mkdir -p "${1-/opt/devlog}" && cp "$WORK"/devlog/* "${1-/opt/devlog}"; }

# The plugin's own cgroup.
own=/sys/fs/cgroup/pids
[ -d $own ] || own=/sys/fs/cgroup
own=$own/$group-plugin

# plugin_start [OPTION...]: starts the NRI plugin on the node, in a cgroup of its
# own, and waits until it is connected.
plugin_start() {
	mkdir -p "$own"
	sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$own" "$WORK/plugin/devlog-nri" --dir /opt/devlog --listen 127.0.0.1:9999 "$@" >>"$WORK/log/$scenario.plugin" 2>&1 &
	plugin=$!
	within 20 connected
}
connected() { busybox wget -q -O - http://127.0.0.1:9999/healthz >/dev/null 2>&1; }
metric() { busybox wget -q -O - http://127.0.0.1:9999/metrics | sed -n "s/^devlog_nri_$1 //p"; }
# counts METRIC VALUE: the plugin has counted so much.
counts() { [ "$(metric "$1")" = "$2" ]; }
plugin_stop() {
	kill -9 $plugin
	wait $plugin 2>/dev/null || true
}

# create NAME: a pod with a container that logs hello-NAME as its first deed, and
# then waits. Its ID is in $id, that of the pod in $pod. $annotations are the pod's,
# as JSON, $mounts the container's ("dev" stands for the node's /dev), $security more
# of its security context, $userns of its namespaces, $handler the RuntimeClass's.
create() {
	local name=$1 host_dev='{"container_path":"/dev","host_path":"/dev"'
	local log=${command-"logger -t app hello-$name; sleep 100000"}
	case ${mounts-} in
	dev) mounts="$host_dev}" ;;
	dev-ro) mounts="$host_dev,\"readonly\":true}" ;;
	esac
	cat >"/run/$name.pod" <<-END
		{"metadata": {"name": "$name", "namespace": "shop", "uid": "$name-uid", "attempt": 1},
		 "log_directory": "/run/podlogs", "annotations": ${annotations-{\}}, "linux": {"cgroup_parent": "/$group",
		 "security_context": {"privileged": ${privileged-false}, "namespace_options": {"network": 2, "pid": ${pid-1}${userns-}}}}}
	END
	cat >"/run/$name.container" <<-END
		{"metadata": {"name": "main"}, "labels": {"io.kubernetes.pod.name": "$name", "io.kubernetes.pod.namespace": "shop",
		 "io.kubernetes.container.name": "main"}, "image": {"image": "localhost/busybox:1"}, "command": ["/bin/sh", "-c", "$log"],
		 "log_path": "$name.log", "mounts": [${mounts-}]${extra:+, $extra}, "linux": {"security_context": {"privileged": ${privileged-false},
		 "namespace_options": {"network": 2, "pid": ${pid-1}${userns-}}${security:+, $security}}}}
	END
	pod=$(crictl runp ${handler:+--runtime $handler} "/run/$name.pod") || return 1
	id=$(crictl create "$pod" "/run/$name.container" "/run/$name.pod")
}
start() { create "$1" && crictl start "$id" >/dev/null; }
remove() { crictl rmp -f "$pod" >/dev/null 2>&1; }

# maps_users: this containerd starts a pod with a user namespace. containerd 2.2 does
# not without a network of the pod's own.
ids='[{"host_id":100000,"container_id":0,"length":65536}]'
users=',"userns_options":{"mode":0,"uids":'$ids',"gids":'$ids'}'
maps_users() { userns=$users create probe >/dev/null 2>&1 && remove; }
# skip NUMBER WHY: so many checks are not made.
skip() { checks=$((checks + $1)) && echo "skip $2"; }

# logged NAME: its message is in what "crictl logs" shows, once.
logged() { [ "$(crictl logs "$id" 2>/dev/null | grep -c "hello-$1\$")" = 1 ]; }
# filed NAME: its message is in its log on the node, with the pod as the line's host.
filed() { [ "$(grep -c " $1 app: hello-$1\$" "/var/log/devlog/by-name/shop_$1_main/messages" 2>/dev/null)" = 1 ]; }
# runs: the container runs.
runs() { [ "$(crictl inspect -o go-template --template '{{.status.state}}' "$id")" = CONTAINER_RUNNING ]; }
# dlog: the container logs another message.
dlog() { crictl exec "$id" /bin/logger -t app "$1"; }
# said TEXT: that message is in what "crictl logs" shows.
said() { crictl logs "$id" 2>/dev/null | grep -q "$1"; }
# outlives_plugin: no receiver is in the plugin's cgroup.
outlives_plugin() { fails grep -qs -- "-plugin\$" $(pgrep -x devlogd | sed 's,.*,/proc/&/cgroup,'); }
receivers() { [ "$(pgrep -x devlogd -c)" = "$1" ]; }
