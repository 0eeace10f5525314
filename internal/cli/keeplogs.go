package cli

import (
	"path/filepath"

	"github.com/urfave/cli/v2"

	"devlog/internal/file"
	"devlog/internal/launch"
	"devlog/internal/running"
)

func keepLogsFlag() cli.Flag {
	return &cli.StringFlag{Name: "keep-logs", EnvVars: env("KEEP_LOGS"),
		Usage: "remove logs of ended containers `TIME` after their last message, such as 30d (default: never); at most once an hour, on the host"}
}

// clearLogs removes old logs on the host, if that was asked for.
func (p *program) clearLogs() {
	if p.keepLogs == 0 {
		return
	}
	dir := filepath.Dir(filepath.Dir(launch.MessagesFile(false, p.name)))
	if err := launch.ClearLogs(dir, p.keepLogs, logsInUse); err != nil {
		p.line(err) // the repair is done all the same
	}
}

// logsInUse is what the receivers on this host use.
func logsInUse() (launch.InUse, error) {
	used := launch.InUse{Files: map[file.ID]bool{}, Names: map[string]bool{}}
	receivers, err := running.List()
	if err != nil {
		return used, err
	}
	for _, r := range receivers {
		used.Names[r.Name] = true
		ids, err := r.OpenFiles()
		if err != nil {
			return used, err
		}
		for _, id := range ids {
			used.Files[id] = true
		}
	}
	return used, nil
}
