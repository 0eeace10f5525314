// Command devlog-nri is a plugin of the Node Resource Interface that gives
// containers devlog's hooks; see docs/kubernetes.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/api"

	"devlog/nri"
)

// Version is this build's.
var Version = "devel"

const usage = `devlog-nri - gives containers devlog's hooks, by the Node Resource Interface

usage: devlog-nri [OPTIONS]
       devlog-nri install DIR    copy devlog-hook and devlogd to DIR, and end

A pod asks for devlog by the annotation devlog.dev/log: "on", or for one of its
containers by devlog.dev/log.CONTAINER: "on".

`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// settings are the command line's.
type settings struct {
	nri.Options
	socket, index, listen, format string
	version                       bool
}

// run returns the exit code: 0, 2 for wrong usage, 4 for a failure.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "install" {
		return install(args[1:], stderr)
	}
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "devlog-nri: %v; see devlog-nri --help\n", err)
		return 2
	case s.version:
		fmt.Fprintln(stdout, "devlog-nri "+Version)
		return 0
	}
	var handler slog.Handler = slog.NewTextHandler(stderr, nil)
	if s.format == "json" {
		handler = slog.NewJSONHandler(stderr, nil)
	}
	s.Log = slog.New(handler)
	if err := serve(s); err != nil {
		s.Log.Error("end", "error", err)
		return 4
	}
	return 0
}

// parse reads the options. With --help it prints them to help.
func parse(args []string, help io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("devlog-nri", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error is enough
	list := func(to *[]string) func(string) error {
		return func(v string) error { *to = append(*to, v); return nil }
	}
	f.StringVar(&s.Dir, "dir", "/usr/libexec/devlog", "the `DIR` of devlog-hook and devlogd, by the same path on the node and here")
	f.BoolVar(&s.All, "all", false, "give every container the hooks, unless an annotation says off")
	f.BoolVar(&s.AllDev, "all-dev", false, "give every container with a directory of the node at /dev the hooks, unless an annotation says off")
	f.BoolVar(&s.Repair, "repair", true, "repair containers that run already; needs the node's PID namespace")
	f.Func("rule", "a `RULE` for containers without the annotation devlog.dev/rules, such as '*.* container-stdout'; may be repeated", list(&s.Rules))
	f.Func("hook-arg", "a further `ARGUMENT` of the hook, such as --annotations=all; may be repeated", list(&s.HookArgs))
	f.StringVar(&s.socket, "socket", api.DefaultSocketPath, "the `PATH` of the container engine's socket")
	f.StringVar(&s.index, "index", "90", "the plugin's place among others, two `DIGITS`")
	f.StringVar(&s.listen, "listen", "", "answer /healthz and /metrics on this `ADDRESS:PORT`")
	f.StringVar(&s.format, "log-format", "text", "`HOW` to log to standard error: text or json")
	f.BoolVar(&s.version, "version", false, "print the version")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(help, usage)
		f.SetOutput(help)
		f.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, err
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case s.format != "text" && s.format != "json":
		return nil, fmt.Errorf("--log-format %q: use text or json", s.format)
	case !filepath.IsAbs(s.Dir):
		return nil, fmt.Errorf("--dir %q: use an absolute path", s.Dir)
	}
	return s, nil
}

func serve(s *settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := nri.New(s.Options)
	if s.listen != "" {
		l, err := net.Listen("tcp", s.listen)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: p.Handler(), ReadHeaderTimeout: 5 * time.Second}
		defer server.Close() //nolint:errcheck // the process ends
		go server.Serve(l)   //nolint:errcheck // it ends with Close
	}
	return p.Run(ctx, s.socket, s.index)
}

func install(args []string, stderr io.Writer) int {
	if len(args) != 1 || strings.HasPrefix(args[0], "-") {
		fmt.Fprintln(stderr, "devlog-nri: install needs one DIR; see devlog-nri --help")
		return 2
	}
	self, err := os.Executable()
	if err == nil {
		err = nri.Install(filepath.Dir(self), args[0])
	}
	if err != nil {
		fmt.Fprintf(stderr, "devlog-nri: %v\n", err)
		return 4
	}
	return 0
}
