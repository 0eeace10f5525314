// Command modules says what the programs that are packaged are made of, as they
// themselves say it (debug/buildinfo):
//
//	modules sbom VERSION PROGRAM...     as CycloneDX 1.5 JSON
//	modules notices PROGRAM...          the licenses, as text
//
// What it writes depends on its arguments, the programs and SOURCE_DATE_EPOCH
// alone.
package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "modules:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 2 && args[0] == "sbom":
		programs, err := read(args[2:])
		if err != nil {
			return err
		}
		return writeSBOM(os.Stdout, args[1], programs)
	case len(args) > 1 && args[0] == "notices":
		programs, err := read(args[1:])
		if err != nil {
			return err
		}
		return writeNotices(os.Stdout, programs)
	}
	return fmt.Errorf("usage: modules notices PROGRAM..., or sbom VERSION PROGRAM... for a bill of materials")
}

// program is one that is packaged.
type program struct {
	name, path string
	modules    []module // by path; Go's standard library is the first
}

// module is a Go module that a program is linked with. Sum is as in go.sum,
// empty for the standard library.
type module struct{ path, version, sum string }

// standard is the path of Go's standard library in package URLs.
const standard = "std"

func read(paths []string) ([]program, error) {
	var list []program
	for _, path := range paths {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read what is in %s: %w", path, err)
		}
		p := program{name: filepath.Base(path), path: path}
		p.modules = append(p.modules, module{path: standard, version: strings.TrimPrefix(info.GoVersion, "go")})
		for _, d := range info.Deps {
			if d.Replace != nil {
				d = d.Replace
			}
			p.modules = append(p.modules, module{d.Path, d.Version, d.Sum})
		}
		list = append(list, p)
	}
	return list, nil
}

// all lists the modules of all programs, each once.
func all(programs []program) []module {
	var list []module
	for _, p := range programs {
		list = append(list, p.modules...)
	}
	slices.SortFunc(list, func(a, b module) int {
		return strings.Compare(a.path+"@"+a.version, b.path+"@"+b.version)
	})
	return slices.Compact(list)
}
