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

// run returns the exit code: 0, 2 for wrong usage, 4 for a failure.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "install" {
		return install(args[1:], stderr)
	}
	var o nri.Options
	var showVersion bool
	var socket, index, listen, format string
	f := flag.NewFlagSet("devlog-nri", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	list := func(to *[]string) func(string) error {
		return func(v string) error { *to = append(*to, v); return nil }
	}
	f.StringVar(&o.Dir, "dir", "/usr/libexec/devlog", "the `DIR` of devlog-hook and devlogd, by the same path on the node and here")
	f.BoolVar(&o.All, "all", false, "every container gets the hooks, but where an annotation says off")
	f.BoolVar(&o.AllDev, "all-dev", false, "every container with a directory of the node at /dev gets the hooks, but where an annotation says off")
	f.BoolVar(&o.Repair, "repair", true, "repair containers that run already; needs the node's PID namespace")
	f.Func("rule", "a `RULE` for containers without the annotation devlog.dev/rules, such as '*.* container-stdout'; may be repeated", list(&o.Rules))
	f.Func("hook-arg", "a further `ARGUMENT` of the hook, such as --annotations=all; may be repeated", list(&o.HookArgs))
	f.StringVar(&socket, "socket", api.DefaultSocketPath, "the `PATH` of the container engine's socket")
	f.StringVar(&index, "index", "90", "the plugin's place among others, two `DIGITS`")
	f.StringVar(&listen, "listen", "", "answer /healthz and /metrics on this `ADDRESS:PORT`")
	f.StringVar(&format, "log-format", "text", "`HOW` to log to standard error: text or json")
	f.BoolVar(&showVersion, "version", false, "print the version")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case showVersion:
		fmt.Fprintln(stdout, "devlog-nri "+Version)
		return 0
	case f.NArg() > 0:
		fmt.Fprintf(stderr, "devlog-nri: unexpected argument %q; see devlog-nri --help\n", f.Arg(0))
		return 2
	case format != "text" && format != "json":
		fmt.Fprintf(stderr, "devlog-nri: --log-format %q: use text or json\n", format)
		return 2
	case !filepath.IsAbs(o.Dir):
		fmt.Fprintf(stderr, "devlog-nri: --dir %q: use an absolute path\n", o.Dir)
		return 2
	}
	var handler slog.Handler = slog.NewTextHandler(stderr, nil)
	if format == "json" {
		handler = slog.NewJSONHandler(stderr, nil)
	}
	o.Log = slog.New(handler)
	if err := serve(o, socket, index, listen); err != nil {
		o.Log.Error("end", "error", err)
		return 4
	}
	return 0
}

func serve(o nri.Options, socket, index, listen string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := nri.New(o)
	if listen != "" {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: p.Handler(), ReadHeaderTimeout: 5 * time.Second}
		defer s.Close() //nolint:errcheck // the process ends
		go s.Serve(l)   //nolint:errcheck // it ends with Close
	}
	return p.Run(ctx, socket, index)
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
