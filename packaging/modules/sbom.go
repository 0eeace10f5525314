package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// The parts of CycloneDX 1.5 that are used
// (https://cyclonedx.org/docs/1.5/json/). There is no serial number: it would be
// another one each time.
type bom struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp,omitempty"`
	Component component `json:"component"`
}

type component struct {
	Type     string    `json:"type"`
	Ref      string    `json:"bom-ref"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	PURL     string    `json:"purl,omitempty"`
	Hashes   []hash    `json:"hashes,omitempty"`
	Licenses []license `json:"licenses,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// writeSBOM writes what devlog of that version is made of.
func writeSBOM(w io.Writer, version string, programs []program) error {
	ours := license{}
	ours.License.ID = "Apache-2.0"
	b := bom{Format: "CycloneDX", SpecVersion: "1.5", Version: 1}
	b.Metadata.Component = component{Type: "application", Ref: "devlog", Name: "devlog", Version: version, Licenses: []license{ours}}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		b.Metadata.Timestamp = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	whole := dependency{Ref: "devlog"}
	for _, p := range programs {
		sum, err := fileHash(p.path)
		if err != nil {
			return err
		}
		b.Components = append(b.Components, component{Type: "application", Ref: p.name, Name: p.name, Version: version,
			Hashes: []hash{sum}, Licenses: []license{ours}})
		whole.DependsOn = append(whole.DependsOn, p.name)
		one := dependency{Ref: p.name}
		for _, m := range p.modules {
			one.DependsOn = append(one.DependsOn, m.purl())
		}
		b.Dependencies = append(b.Dependencies, one)
	}
	b.Dependencies = append(b.Dependencies, whole)
	for _, m := range all(programs) {
		c := component{Type: "library", Ref: m.purl(), Name: m.path, Version: m.version, PURL: m.purl()}
		if m.sum != "" {
			sum, err := moduleHash(m.sum)
			if err != nil {
				return fmt.Errorf("%s: %w", m.path, err)
			}
			c.Hashes = []hash{sum}
		}
		b.Components = append(b.Components, c)
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(b)
}

// purl is the module's package URL.
func (m module) purl() string { return "pkg:golang/" + m.path + "@" + m.version }

func fileHash(path string) (hash, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return hash{}, err
	}
	sum := sha256.Sum256(data)
	return hash{"SHA-256", hex.EncodeToString(sum[:])}, nil
}

// moduleHash is a hash as go.sum has it: of the list of the module's files.
func moduleHash(sum string) (hash, error) {
	text, ok := strings.CutPrefix(sum, "h1:")
	if !ok {
		return hash{}, fmt.Errorf("no hash: %q", sum)
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return hash{}, err
	}
	return hash{"SHA-256", hex.EncodeToString(data)}, nil
}
