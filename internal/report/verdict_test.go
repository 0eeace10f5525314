package report

import (
	"testing"

	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
)

// check answers "needs repair" if anything can be repaired, and otherwise "refused".
func TestVerdict(t *testing.T) {
	host := func(v plan.Verdict, advice string) repair.Result {
		return repair.Result{Plan: plan.Plan{Verdict: v, Advice: advice}}
	}
	container := func(v plan.Verdict) hosts.Sharer { return hosts.Sharer{Plan: plan.Plan{Verdict: v}} }
	fine, needs, refused := container(plan.Healthy), container(plan.NeedsRepair), container(plan.Refused)
	hangs := hosts.Sharer{Problem: "it does not answer"}
	for _, tt := range []struct {
		name       string
		host       repair.Result
		containers []hosts.Sharer
		want       plan.Verdict
	}{
		{"nothing", host(plan.Healthy, ""), nil, plan.Healthy},
		{"all healthy", host(plan.Healthy, ""), []hosts.Sharer{fine, fine}, plan.Healthy},
		{"no daemon on the host", host(plan.Healthy, "start it"), []hosts.Sharer{fine}, plan.NeedsRepair},
		{"host to be prepared", host(plan.NeedsRepair, ""), []hosts.Sharer{refused}, plan.NeedsRepair},
		{"host refused", host(plan.Refused, ""), []hosts.Sharer{needs}, plan.Refused},
		{"a container needs it", host(plan.Healthy, ""), []hosts.Sharer{fine, needs}, plan.NeedsRepair},
		{"a container is refused", host(plan.Healthy, ""), []hosts.Sharer{refused, fine}, plan.Refused},
		{"one of each", host(plan.Healthy, ""), []hosts.Sharer{refused, needs, refused}, plan.NeedsRepair},
		{"one hangs", host(plan.Healthy, ""), []hosts.Sharer{fine, hangs}, plan.NeedsRepair},
	} {
		if got := HostVerdict(tt.host, tt.containers); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
