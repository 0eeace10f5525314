# The default target builds the programs into bin/.
VERSION ?= $(shell packaging/describe.sh)
GOLANGCI_LINT_VERSION := v2.15.0
NFPM_VERSION := v2.45.0
CYCLONEDX_VERSION := v1.10.0
BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da

export CGO_ENABLED := 0
GOFLAGS_BUILD := -trimpath -buildvcs=false -tags urfave_cli_no_docs
LDFLAGS := -s -w -buildid= -X devlog/internal/cli.Version=$(VERSION) -X devlog/internal/devlogd.Version=$(VERSION)

BIN ?= bin

# The oldest Go that go.mod allows.
OLDEST_GO := go$(shell sed -n 's/^go //p' go.mod)

# Go before 1.21 only says that it cannot parse go.mod.
.PHONY: need-go
need-go:
	@! go version | grep -qE ' go1\.([0-9]|1[0-9]|20)(\.| )' || \
		{ echo "devlog needs Go $(OLDEST_GO:go%=%) or newer, and this is $$(go env GOVERSION): see README.md" >&2; exit 1; }

.PHONY: build
build: need-go ## build the programs into bin/
	go build $(GOFLAGS_BUILD) -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

PREFIX ?= /usr
ROOT = $(DESTDIR)$(PREFIX)

.PHONY: install
install: build ## install below $(DESTDIR)$(PREFIX), and $(DESTDIR)/etc/devlogd.conf if there is none
	packaging/install.sh '$(BIN)' '$(DESTDIR)' '$(PREFIX)'

ARCHES ?= amd64 arm64 arm7
TOOLS ?= .tools

.PHONY: packages
packages: $(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod ## build .deb, .rpm, .apk and .tar.gz with SBOM and checksums into dist/
	VERSION='$(VERSION)' PATH="$(abspath $(TOOLS)):$$PATH" packaging/build.sh $(ARCHES)

RELEASE_ARCHES ?= amd64 arm64

.PHONY: release
release: $(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod ## build the release that VERSION names: packages, archives, SBOMs, sources and checksums, into dist/
	PATH="$(abspath $(TOOLS)):$$PATH" packaging/release.sh $(RELEASE_ARCHES)

$(TOOLS)/nfpm: | need-go
	GOTOOLCHAIN=auto GOBIN=$(abspath $(TOOLS)) go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)

$(TOOLS)/cyclonedx-gomod: | need-go
	GOTOOLCHAIN=auto GOBIN=$(abspath $(TOOLS)) go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)

.PHONY: demo
demo: build ## show the problem and its cure on a throw-away host; needs root
	test/demo.sh bin

DEMO_SVG ?= docs/demo.svg

.PHONY: demo-svg
demo-svg: build ## record the demonstration as docs/demo.svg; needs root
	test/demo.sh bin >bin/demo.txt
	go run ./test/demosvg <bin/demo.txt >$(DEMO_SVG)

.PHONY: test
test: deps ## install what the tests need and run everything; needs root
	go vet -tags urfave_cli_no_docs ./...
	go test $$(go list ./... | grep -v '^devlog/test')
	go test -p 1 -count=1 -timeout 40m ./test/... # one folder after the other: their hosts share the machine
	cd nri && go vet ./... && go test ./...

.PHONY: nri
nri: ## build the plugin for Kubernetes, devlog-nri, into bin/
	cd nri && go build -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.Version=$(VERSION)' -o $(abspath $(BIN))/ ./cmd/devlog-nri

HELM ?= helm
MANIFEST ?= deploy/kubernetes/devlog.yaml

.PHONY: manifest
manifest: ## render deploy/kubernetes/devlog.yaml from its chart; needs HELM
	(echo '# Made by "make manifest" from chart/.'; $(HELM) template devlog deploy/kubernetes/chart --namespace devlog \
		--set createNamespace=true --kube-version 1.30.0) >$(MANIFEST)

.PHONY: test-engines
test-engines: ## build today's containerd, crictl and runc once, and test pods with them; needs root
	test/engines/run.sh $(SCENARIOS)

SUITES ?= bookworm trixie bullseye

.PHONY: test-hosts
test-hosts: $(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod ## test the package on real hosts in virtual machines, for SUITES of Debian; needs root
	test/hosts/run.sh $(SUITES)

OTHER_ARCHES := arm arm64 loong64 mips mipsle ppc64le riscv64 s390x
# The processor's older mode is run for all machines of 32 bits.
ARCH32 := $(if $(filter arm64,$(shell go env GOHOSTARCH)),arm,386)

.PHONY: test-arches
test-arches: ## check that all builds with the oldest Go and for other architectures, and run the unit tests with it on 32 bits
	GOTOOLCHAIN=$(OLDEST_GO) go vet -tags 'urfave_cli_no_docs soak' ./...
	cd nri && GOTOOLCHAIN=$(OLDEST_GO) go vet ./...
	set -e; for arch in $(OTHER_ARCHES) 386; do \
		GOOS=linux GOARCH=$$arch go build -tags urfave_cli_no_docs ./...; \
		GOOS=linux GOARCH=$$arch go vet -tags 'urfave_cli_no_docs soak' ./...; \
	done
	GOTOOLCHAIN=$(OLDEST_GO) GOARCH=$(ARCH32) go test ./internal/... ./test/devlogd

SOAK_TIME ?= 10m
SOAK_SEED ?=
SOAK_FAULTS ?=

.PHONY: soak
soak: deps ## have all go wrong that can, for SOAK_TIME; SOAK_SEED repeats a run's faults; needs root
	SOAK_TIME='$(SOAK_TIME)' SOAK_SEED='$(SOAK_SEED)' SOAK_FAULTS='$(SOAK_FAULTS)' go test -tags soak -timeout 24h -count 1 -v -run '^TestSoak' ./test/soak

FUZZTIME ?= 30s
FUZZ ?=

.PHONY: fuzz
fuzz: ## try every parser with made-up input, each for FUZZTIME; FUZZ is a regular expression for some of them
	test/fuzz.sh '$(FUZZTIME)' '$(FUZZ)'

.PHONY: deps
deps: $(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod ## install the runtimes and clients that the tests use
	test/deps.sh

.PHONY: bench-hook
bench-hook: build ## measure what the hook costs a container's start; needs root
	go run ./test/bench $(BIN)

BENCH_REPS ?= 5
BENCH_FLAGS ?=

.PHONY: bench
bench: build ## compare devlogd with other daemons and bring docs/performance.md up to date; needs root and gcc
	go run ./test/bench/receiver -devlogd $(BIN)/devlogd -reps $(BENCH_REPS) -results test/bench/receiver/results.json \
		-document docs/performance.md -picture docs/performance.svg $(BENCH_FLAGS)

BENCH_COUNT ?= 10
BASE ?=

.PHONY: bench-micro
bench-micro: .tools/benchstat ## run the micro-benchmarks; BASE=REVISION compares with that one
	test/bench/micro.sh .tools/benchstat $(BENCH_COUNT) $(BASE)

.tools/benchstat:
	GOTOOLCHAIN=auto GOBIN=$(CURDIR)/.tools go install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION)

.PHONY: lint
lint: .tools/golangci-lint ## check the code
	.tools/golangci-lint run
	cd nri && ../.tools/golangci-lint run -c ../.golangci.yml

.tools/golangci-lint:
	GOTOOLCHAIN=auto GOBIN=$(CURDIR)/.tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist .tools

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile
