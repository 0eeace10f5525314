# shellcheck shell=bash
# Pods of every shape, with the node's /dev and without, by the NRI plugin.
install
engine_conf
engine_start
plugin_start --all --rule '*.* container-stdout'

# shape NAME: a pod of the shape that the variables say has its first message in its
# output; with the node's /dev too.
shape() {
	local name=$1
	start "$name"
	soon "$name: the first message arrives" logged "$name"
	remove
	mounts=dev start "$name-dev"
	soon "$name, with the node's /dev: the first message arrives" logged "$name-dev"
	remove
}
shape ordinary
privileged=true shape privileged
pid=2 shape host-pid
pid=0 shape shared-pid
security='"run_as_user":{"value":1000}' shape uid-1000
if maps_users; then
	userns=$users shape user-namespace
else
	skip 2 'a user namespace'
fi
mounts=dev-ro start dev-ro
soon "a read-only /dev of the node's: the first message arrives" logged dev-ro
remove

# An unprepared node whose own daemon listens: its /dev/log is not touched.
rm -f /dev/log /dev/.devlog-host /run/devlog/log
busybox syslogd -n -O /var/log/host.log &
syslogd=$!
soon "the node's own daemon listens" test -S /dev/log
inode=$(stat -c %i /dev/log)
mounts=dev start beside
soon "beside it the first message arrives" logged beside
want "the daemon's socket is where it was" test "$(stat -c %i /dev/log)" = "$inode"
want "and its log has none of the pod's" fails grep -q hello-beside /var/log/host.log
remove
kill $syslogd

# As on a node with systemd whose journal does not listen.
rm -f /dev/log
ln -s /run/systemd/journal/dev-log /dev/log
want "check --host warns of a link that leads nowhere" grep -q 'mkdir /dev/log: file exists' <(/opt/devlog/devlog-hook check --host)
both='{"container_path":"/dev","host_path":"/dev"},{"container_path":"/dev/log","host_path":"/dev/log"}'
want "a pod with /dev and that link does not start" fails eval 'mounts=$both create both'
remove
mounts=dev start alone
soon "one with /dev alone does, and its first message arrives" logged alone
remove
want "and the node's link is what it was" test "$(readlink /dev/log)" = /run/systemd/journal/dev-log
soon "all receivers end" receivers 0
ended 22
