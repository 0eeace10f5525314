package hook

import (
	"strings"
	"testing"
)

func TestReadPolicy(t *testing.T) {
	for _, tt := range []struct {
		args, env string
		want      Policy
	}{
		{"oci --stage prestart", "", Policy{Hook: true}},
		{"oci --stage prestart --on-error fail", "", Policy{true, true}},
		{"oci --on-error=fail --stage prestart --nosuch", "", Policy{true, true}},
		{"oci -on-error fail", "", Policy{true, true}},
		{"oci --on-error", "", Policy{Hook: true}},
		{"oci --on-error fial", "", Policy{Hook: true}},
		{"oci --on-error fail --on-error start", "", Policy{Hook: true}},
		{"oci --stage prestart", "DEVLOG_ON_ERROR=fail", Policy{true, true}},
		{"oci --stage prestart --on-error start", "DEVLOG_ON_ERROR=fail", Policy{Hook: true}},
		{"oci --stage poststop --on-error fail", "", Policy{Hook: true}},
		{"oci --stage=poststop --on-error fail", "", Policy{Hook: true}},
		{"oci --on-error fail", "DEVLOG_STAGE=poststop", Policy{Hook: true}},
		{"--nosuch oci", "", Policy{Hook: true}},
		{"c1 lxc start", "LXC_NAME=c1", Policy{Hook: true}},
		{"--rule x c1 lxc start", "LXC_NAME=c1", Policy{Hook: true}},
		{"c1 lxc start", "", Policy{}},
		{"check lxc start", "LXC_NAME=check", Policy{Hook: true}},
		{"poststop lxc start", "LXC_NAME=poststop DEVLOG_ON_ERROR=fail", Policy{true, true}},
		{"c1 lxc post-stop", "LXC_NAME=c1 DEVLOG_ON_ERROR=fail", Policy{Hook: true}},
		{"", "LXC_HOOK_TYPE=start", Policy{Hook: true}},
		{"--on-error=fail", "LXC_HOOK_TYPE=start-host", Policy{true, true}},
		{"", "LXC_HOOK_TYPE=post-stop DEVLOG_ON_ERROR=fail", Policy{Hook: true}},
		{"repair --pid 1", "LXC_HOOK_TYPE=start-host LXC_NAME=c1", Policy{}},
		{"repair --name oci", "", Policy{}},
		{"help oci", "", Policy{}},
		{"", "", Policy{}},
	} {
		getenv := func(name string) string {
			for e := range strings.FieldsSeq(tt.env) {
				if value, ok := strings.CutPrefix(e, name+"="); ok {
					return value
				}
			}
			return ""
		}
		if got := ReadPolicy(append([]string{"devlog-hook"}, strings.Fields(tt.args)...), getenv); got != tt.want {
			t.Errorf("%s %s: %+v, want %+v", tt.env, tt.args, got, tt.want)
		}
	}
}
