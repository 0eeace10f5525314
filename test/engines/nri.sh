# shellcheck shell=bash
# The NRI plugin: who gets devlog, what survives, and what never fails.
on='{"devlog.dev/log":"on","devlog.dev/rules":"*.* container-stdout"}'
install
engine_conf
sed -i '/nri.*default_validator/,/enable/s/enable = false/enable = true/' /etc/containerd/config.toml
engine_start
plugin_start

annotations=$on start first
soon "an annotated pod's first message is in its output" logged first
remove
annotations=$on mounts=dev start shared
soon "so it is with the node's /dev" logged shared
want "and the node has a link there" test "$(readlink /dev/log)" = /run/devlog/log
remove
annotations='{"devlog.dev/log":"on"}' start filed
soon "without rules it is in a file, called as the pod" filed filed
remove
mounts=dev start plain
soon "a pod without the annotation runs" runs
want "and has no receiver" fails test -e "/run/devlog/$id"
want "and no log" fails grep -rqs hello-plain /var/log/devlog
remove
annotations='{"devlog.dev/log.main":"on","devlog.dev/rules.main":"*.* container-stdout","devlog.dev/rules":"*.* /x"}' start one
soon "an annotation can be for one container" logged one
remove
annotations='{"devlog":"on","devlog.rules":"*.* container-stdout"}' start old
soon "the former names of annotations work" logged old
want "and are mentioned once" test "$(crictl logs "$id" 2>/dev/null | grep -c "is now called devlog.dev/")" = 1
remove
annotations='{"devlog.dev/log.other":"on"}' start another
want "and then is for no other" fails test -e "/var/log/devlog/$id"
remove
soon "receivers end with their containers" receivers 0

# What goes wrong never keeps a pod from starting.
mv /opt/devlog/devlogd /opt/devlog/gone
annotations=$on start missing
want "without the receiver's program a pod starts" runs
want "and the plugin counts it" counts 'containers_total{result="no_program"}' 1
remove
mv /opt/devlog/gone /opt/devlog/devlogd
annotations='{"devlog.dev/log":"perhaps"}' start odd
want "with a wrong annotation a pod starts" runs
remove
annotations='{"devlog.dev/log":"on","devlog.dev/rules":"*.* /etc/passwd"}' start refused
want "with a rule that is refused a pod starts" runs
want "and why it has no log is noted on the node" grep -q "files below /var/log/devlog/$id and to container-stdout only" "/run/devlog/$id.log"
remove

# Restarts.
annotations=$on start before
soon "a pod logs" logged before
plugin_stop
want "it does so without the plugin" dlog later
soon "and that arrives" said later
keep=$pod kept=$id
annotations=$on start without
want "a pod starts without the plugin" runs
want "and has no receiver yet" receivers 1
unless=$pod unless_id=$id
requires='{"devlog.dev/log":"on","devlog.dev/rules":"*.* container-stdout","required-plugins.noderesource.dev":"[\"devlog\"]"}'
if validates; then
	want "one that requires the plugin does not" fails eval 'annotations=$requires create required'
	remove
else
	skip 1 'a pod that requires the plugin'
fi
pod=$unless id=$unless_id
plugin_start
soon "the plugin repairs it" dlog repaired
soon "and its messages arrive" said repaired
want "and it counts one repair for each that asked" counts 'repairs_total{result="done"}' 2
annotations=$requires start required
soon "one that requires the plugin starts with it" logged required
remove
pod=$unless id=$unless_id
want "the receiver is in the cgroup of the engine, not of the plugin" outlives_plugin
engine_stop
want "both log without the engine" receivers 2
engine_start
soon "the plugin connects to the engine again" counts connections_total 2
want "the pods log still" dlog again
soon "and that arrives" said again
remove
pod=$keep id=$kept
want "the one from before logs still" dlog last
soon "and that arrives" said last
remove
soon "all receivers end" receivers 0

# Two plugins at once, as while the DaemonSet is updated.
"$WORK/plugin/devlog-nri" --dir /opt/devlog --all >>"$WORK/log/$scenario.second" 2>&1 &
second=$!
soon "a second plugin connects" grep -q connected "$WORK/log/$scenario.second"
annotations=$on start twice
soon "with two plugins a message arrives once" logged twice
want "of one receiver" receivers 1
remove
kill $second
plugin_stop
plugin_start --all-dev --rule '*.* container-stdout'
mounts=dev start devs
soon "with --all-dev a pod with the node's /dev has a log" logged devs
remove
start nodev
want "and one without has none" receivers 0
remove
annotations='{"devlog.dev/log":"off"}' mounts=dev start off
want "nor one that said off" receivers 0
remove
annotations='{"devlog.dev/log":"on","devlog.dev/rules":"\n"}' start blank
soon "a pod with an empty rule has the plugin's rules" logged blank
want "and no file on the node" fails grep -rqs hello-blank /var/log/devlog
remove

# Uninstall.
plugin_stop
soon "all receivers end" receivers 0
want "undo --host works once they have" /opt/devlog/devlog-hook undo --host
want "and the node has no /dev/log, as before" fails test -L /dev/log
want "and no files of a repair's" fails test -e /run/devlog/log -o -e /dev/.devlog-host
ended 47
