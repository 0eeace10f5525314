# The default target builds both programs into bin/.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GOLANGCI_LINT_VERSION := v2.15.0

export CGO_ENABLED := 0
GOFLAGS_BUILD := -trimpath -buildvcs=false -tags urfave_cli_no_docs
LDFLAGS := -s -w -buildid= -X devlog/internal/cli.Version=$(VERSION) -X devlog/internal/receiver.Version=$(VERSION)

.PHONY: build
build: ## build bin/devlog-hook and bin/devlogd
	go build $(GOFLAGS_BUILD) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

PREFIX ?= /usr

.PHONY: install
install: build ## install below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/libexec/devlog $(DESTDIR)$(PREFIX)/share/devlog/hooks $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	install bin/devlog-hook bin/devlogd $(DESTDIR)$(PREFIX)/libexec/devlog
	install -m 644 hooks/* $(DESTDIR)$(PREFIX)/share/devlog/hooks
	install -m 644 man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8

.PHONY: demo
demo: build ## show the problem and its cure on a throw-away host; needs root
	test/demo.sh bin

.PHONY: test
test: deps ## install what the tests need and run everything; needs root
	go vet -tags urfave_cli_no_docs ./...
	go test -timeout 20m ./...

FUZZTIME ?= 30s
FUZZ := syslog/FuzzParse syslog/FuzzLayouts syslog/FuzzParseKernel \
	syslogconf/FuzzParseRule syslogconf/FuzzParseFile receiver/FuzzFrames

.PHONY: fuzz
fuzz: $(FUZZ:%=fuzz/%) ## try the parsers with made-up input, each for FUZZTIME

fuzz/%:
	go test -run '^$$' -fuzz '^$(*F)$$' -fuzztime $(FUZZTIME) ./internal/$(*D)

.PHONY: deps
deps: ## install the runtimes and clients that the tests use
	test/deps.sh

.PHONY: lint
lint: .tools/golangci-lint ## check the code
	.tools/golangci-lint run

.tools/golangci-lint:
	GOBIN=$(CURDIR)/.tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .tools

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile
