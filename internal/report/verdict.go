package report

import (
	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
)

// Verdict is check's answer about one container, or the host by itself. A plan without steps is
// not enough to be healthy: messages must arrive.
func Verdict(r repair.Result) plan.Verdict {
	switch {
	case r.Plan.Verdict == plan.Refused:
		return plan.Refused
	case !r.Works():
		return plan.NeedsRepair
	}
	return plan.Healthy
}

// HostVerdict is check's answer about the host and its containers. "Needs repair" has precedence
// over "refused": a repair of one, such as the host, can make others possible.
func HostVerdict(host repair.Result, containers []hosts.Sharer) plan.Verdict {
	verdict := Verdict(host)
	if verdict != plan.Healthy {
		return verdict
	}
	for _, s := range containers {
		switch {
		case s.Problem != "" || s.Plan.Verdict == plan.NeedsRepair:
			return plan.NeedsRepair
		case s.Plan.Verdict == plan.Refused:
			verdict = plan.Refused
		}
	}
	return verdict
}
