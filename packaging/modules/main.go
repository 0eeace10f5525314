// Command modules writes the licenses of all modules that these programs are linked
// with (debug/buildinfo):
//
//	modules PROGRAM...
package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "modules:", err)
		os.Exit(1)
	}
}

func run(programs []string) error {
	if len(programs) == 0 {
		return errors.New("no program is named: usage: modules PROGRAM")
	}
	modules, err := read(programs)
	if err != nil {
		return err
	}
	return writeNotices(os.Stdout, modules)
}

// module is a Go module that a program is linked with.
type module struct{ path, version string }

// standard stands for Go's standard library, which is not a module.
const standard = "std"

// read lists the modules of all programs, each once.
func read(programs []string) ([]module, error) {
	var list []module
	for _, path := range programs {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read what is in %s: %w", path, err)
		}
		list = append(list, module{standard, strings.TrimPrefix(info.GoVersion, "go")})
		for _, d := range info.Deps {
			if d.Replace != nil {
				d = d.Replace
			}
			list = append(list, module{d.Path, d.Version})
		}
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.path+"@"+a.version, b.path+"@"+b.version) })
	return slices.Compact(list), nil
}
