# shellcheck shell=bash
# The RuntimeClass: what "config containerd" prints, put in place as it says, twice;
# and the CDI device.
install /usr/libexec/devlog
hook=/usr/libexec/devlog/devlog-hook
engine_conf
# An option that the node's own runtime has.
sed -i "/runtimes.runc.options/,/^\$/s/NoNewKeyring = false/NoNewKeyring = true/" /etc/containerd/config.toml
for _ in 1 2; do $hook config containerd --dir /etc/containerd/conf.d; done
want "the file has the node's own options" grep -q "^ *NoNewKeyring = true" /etc/containerd/conf.d/devlog.containerd.toml
want "the form for containerd 1 is refused" fails $hook config containerd1
$hook config cdi >/etc/cdi/devlog.json
engine_start
dump=$(containerd -c /etc/containerd/config.toml config dump)
want "containerd takes the file" grep -q "BinaryName = '/usr/libexec/devlog/devlog-runtime'" <<<"$dump"

annotations='{"devlog.dev/rules":"*.* container-stdout"}'
handler=devlog start class
soon "a pod of the RuntimeClass logs" logged class
remove
handler=devlog mounts=dev start class-dev
soon "so it does with the node's /dev" logged class-dev
remove
annotations='{"devlog.rules":"*.* container-stdout"}' handler=devlog start old
soon "by the old name of the annotation too" logged old
want "which is mentioned once" test "$(crictl logs "$id" 2>/dev/null | grep -c "devlog.rules is now called devlog.dev/rules")" = 1
remove
annotations='{}' handler=devlog start file
soon "without rules the message is in a file, called as the pod" filed file
remove
annotations='{"devlog.dev/log":"off"}' handler=devlog start off
want "a pod that says off has no receiver" receivers 0
remove
handler='' start runc
want "nor has one of another class" receivers 0
remove
annotations='{"devlog.dev/log":"on"}' extra='"CDI_devices":[{"name":"devlog.dev/log=on"}]' mounts=dev start device
soon "the CDI device: the message is in a file" filed device
remove
# NRI beside it.
plugin_start --all --rule '*.* container-stdout'
annotations='{"devlog.dev/rules":"*.* container-stdout"}' handler=devlog start both
soon "with the plugin and the RuntimeClass a message arrives once" logged both
want "of one receiver" receivers 1
remove
soon "all receivers end" receivers 0
ended 14
