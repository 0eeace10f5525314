# shellcheck shell=bash
# The RuntimeClass: what "config containerd" prints, put in place as it says, twice;
# and the CDI device.
install /usr/libexec/devlog
hook=/usr/libexec/devlog/devlog-hook
engine_conf
# An option that the node's own runtime has.
sed -i "/runtimes.runc.options/,/^\$/s/NoNewKeyring = false/NoNewKeyring = true/" /etc/containerd/config.toml
config=/etc/containerd/config.toml
if one; then
	file=$config
	for _ in 1 2; do
		sed -i '/^# devlog: begin/,/^# devlog: end/d' $config
		$hook config containerd1 >>$config
	done
	want "the form for containerd 2 is refused" fails $hook config containerd
else
	file=/etc/containerd/conf.d/devlog.containerd.toml
	for _ in 1 2; do $hook config containerd --dir /etc/containerd/conf.d; done
	want "the form for containerd 1 is refused" fails $hook config containerd1
fi
own_options() { sed -n '/devlog.options/,/^\[/p' $file | grep -q "^ *NoNewKeyring = true"; }
want "the file has the node's own options" own_options
$hook config cdi >/etc/cdi/devlog.json
engine_start
dump=$(containerd -c /etc/containerd/config.toml config dump)
want "containerd takes the file" grep -q "BinaryName = ['\"]/usr/libexec/devlog/devlog-runtime['\"]" <<<"$dump"

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
if has_cdi; then
	annotations='{"devlog.dev/log":"on"}' extra='"CDI_devices":[{"name":"devlog.dev/log=on"}]' mounts=dev start device
	soon "the CDI device: the message is in a file" filed device
	remove
else
	skip 1 'the CDI device'
fi
if has_nri; then # beside the plugin, which finds its programs
	install
	plugin_start --all --rule '*.* container-stdout'
	annotations='{"devlog.dev/rules":"*.* container-stdout"}' handler=devlog start both
	soon "with the plugin and the RuntimeClass a message arrives once" logged both
	want "of one receiver" receivers 1
	remove
else
	skip 2 'the plugin beside it'
fi
soon "all receivers end" receivers 0
ended 14
