package runtimes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// A hook with the wrong --stage is refused. It repairs neither the container nor the host,
// which it could mistake for it.
func TestStageMismatch(t *testing.T) {
	early := []string{"prestart", "createRuntime"} // these two are one
	stages := append(slices.Clone(early), "createContainer", "startContainer", "poststart")
	eachStage(t, stages, func(t *testing.T, h *host.Host, runtime, stage string) {
		var added []string
		if stage != "startContainer" {
			added = append(added, "/run/devlog")
		}
		before := host.Tree(h)
		for _, says := range stages {
			if says == stage || slices.Contains(early, says) && slices.Contains(early, stage) {
				continue
			}
			c := host.NewOCI(t, h, runtime, says, "exit 5")
			c.Hook(stage, "--on-error", "fail")
			c.Config["hooks"].(map[string]any)[stage].([]any)[0].(map[string]any)["args"].([]string)[3] = says
			r := h.Do(c.Write().Args("run")...)
			if stage != "poststart" && (r.Code == 0 || r.Code == 5) { // a failure then is no reason to end the container
				t.Errorf("--stage %s: %+v", says, r)
			}
			if stage != "startContainer" { // in there the host is not seen
				added = append(added, "/run/devlog/"+says+".log")
			}
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before, added...)
			if _, err := os.Lstat(filepath.Join(c.Rootfs, "run/devlog/log")); err == nil {
				t.Errorf("--stage %s: there is a socket in the container", says)
			}
		}
	})
}

// Wrong arguments are reported in the container's note too: crun hides what a hook prints.
func TestStageArguments(t *testing.T) {
	eachStage(t, []string{"prestart"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		for id, tt := range map[string]struct {
			args []string
			says string
		}{
			"flag":    {[]string{"devlog-hook", "oci", "--stage", stage, "--rulez", "x"}, "rulez"},
			"word":    {[]string{"devlog-hook", "oci", "--stage", stage, "x"}, `unexpected argument "x"`},
			"program": {[]string{"oci", "--stage", stage}, "stage"},
			"none":    {nil, "no command; see devlog-hook --help"},
			"command": {[]string{"devlog-hook", "ocy"}, `"ocy"`},
		} {
			c := host.NewOCI(t, h, runtime, id, "exit 5")
			c.Hook(stage)
			hook := c.Config["hooks"].(map[string]any)[stage].([]any)[0].(map[string]any)
			hook["args"], hook["env"] = tt.args, []string{"DEVLOG_ON_ERROR=fail"}
			if r := h.Do(c.Write().Args("run")...); r.Code == 0 || r.Code == 5 {
				t.Errorf("%s: %+v", id, r)
			}
			text, err := os.ReadFile(h.Path("/run/devlog/" + id + ".log"))
			if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), tt.says) {
				t.Errorf("%s: it says %q, %v", id, text, err)
			}
		}
	})
}
