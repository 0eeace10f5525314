package packages

import (
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// The programs need nothing of the machine, and are for the architecture that their names
// have.
func TestPackagesStatic(t *testing.T) {
	host.Need(t, "bsdtar")
	dir := packages(t)
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "arm7": elf.EM_ARM} {
		root := t.TempDir()
		host.Check(t, host.Command("tar", "-C", root, "-xf", filepath.Join(dir, strings.ReplaceAll(tarFile, runtime.GOARCH, arch))))
		programs, err := filepath.Glob(root + "/usr/libexec/devlog/*")
		host.Check(t, err)
		if len(programs) < 2 {
			t.Fatalf("%s: programs: %q", arch, programs)
		}
		for _, p := range programs {
			f, err := elf.Open(p)
			host.Check(t, err)
			libraries, err := f.ImportedLibraries()
			if f.Machine != machine || err != nil || len(libraries) > 0 || f.Section(".interp") != nil {
				t.Errorf("%s for %s: is for %v, linked with %q, %v", filepath.Base(p), arch, f.Machine, libraries, err)
			}
			host.Check(t, f.Close())
			if info, err := buildinfo.ReadFile(p); arch == "arm7" && (err != nil || !slices.Contains(info.Settings, debug.BuildSetting{Key: "GOARM", Value: "7"})) {
				t.Errorf("%s for %s: is built with %v, %v", filepath.Base(p), arch, info, err)
			}
		}
	}
}

// The SBOM of devlog-hook has every module that go.mod requires, and is the same each time.
func TestPackagesSBOM(t *testing.T) {
	dir := packages(t)
	text, err := os.ReadFile(filepath.Join(dir, sbomFile))
	host.Check(t, err)
	var bom struct {
		BOMFormat, SerialNumber string
		Metadata                struct {
			Timestamp string
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	host.Check(t, json.Unmarshal(text, &bom))
	if m := bom.Metadata; bom.BOMFormat != "CycloneDX" || bom.SerialNumber != "" || m.Timestamp != "" || m.Component.Version != packagedVersion {
		t.Errorf("%+v", bom)
	}
	has := map[string]string{} // name: version
	for _, c := range bom.Components {
		has[c.Name] = c.Version
		if want := "pkg:golang/" + c.Name + "@" + c.Version; !strings.HasPrefix(c.PURL, want) {
			t.Errorf("%s has the package URL %s, want %s", c.Name, c.PURL, want)
		}
	}
	root := t.TempDir()
	host.Check(t, host.Command("tar", "-C", root, "-xf", filepath.Join(dir, tarFile)))
	if want := runtime.Version(); has["std"] != want {
		t.Errorf("the SBOM has Go's library %q, want %s", has["std"], want)
	}
	cmd := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}} {{.Version}}{{end}}", "all")
	out, err := cmd.Output()
	host.Check(t, err)
	notices, err := os.ReadFile(root + "/usr/share/doc/devlog/copyright")
	host.Check(t, err)
	direct := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 2 || has[f[0]] == "" { // such as a library for tests
			continue
		}
		direct++
		if has[f[0]] != f[1] {
			t.Errorf("the SBOM has %s %s, want %s", f[0], has[f[0]], f[1])
		}
		if !strings.Contains(string(notices), "\n---- "+f[0]+" "+f[1]+"\n") {
			t.Errorf("the copyright file does not have the license of %s", f[0])
		}
	}
	if direct < 5 {
		t.Errorf("the SBOM has only %d of the modules in go.mod", direct)
	}
}

// The numbers in the headers of the .apk are octal. Go's and GNU's tar accept other forms, but apk
// does not ("package file format error").
func TestPackagesOctal(t *testing.T) {
	f, err := os.Open(filepath.Join(packages(t), apkFile))
	host.Check(t, err)
	defer f.Close()
	plain, err := gzip.NewReader(f)
	host.Check(t, err)
	archive, err := io.ReadAll(plain)
	host.Check(t, err)
	const block = 512
	headers := 0
	for len(archive) >= block {
		h := archive[:block]
		archive = archive[block:]
		if !bytes.Equal(h, make([]byte, block)) {
			headers++
			name, _, _ := bytes.Cut(h[:100], []byte{0})
			for _, field := range [][]byte{h[100:108], h[108:116], h[116:124], h[124:136], h[136:148], h[148:156]} { // mode to checksum (tar(5))
				if strings.Trim(string(field), "01234567 \x00") != "" {
					t.Fatalf("%s has a header with %q", name, field)
				}
			}
			size, err := strconv.ParseInt(strings.Trim(string(h[124:136]), " \x00"), 8, 64)
			host.Check(t, err)
			archive = archive[(size+block-1)/block*block:]
		}
	}
	if headers < 20 {
		t.Errorf("%d headers", headers)
	}
}
