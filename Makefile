# Weir's tasks. `make` alone lists them. Everything runs from a fresh clone with Go and,
# for tests, gcc and curl; what is missing is installed with apt-get when run as root.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X weir.dev/weir/cli.version=$(VERSION)
TOOL    := go tool -modfile=tools.mod
CRDS    := controlplane/resource/crds/.generated
SHELL   := /bin/bash
.SHELLFLAGS := -o pipefail -ec

.DEFAULT_GOAL := help
.PHONY: help build generate demo test conformance deps lint fmt bench screenshots docs clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: generate ## build bin/weir
	go build -ldflags '$(LDFLAGS)' -o bin/weir ./cmd/weir

generate: $(CRDS) ## generate what is not committed: the schemas of the kinds that Weir reads

$(CRDS): go.mod tools.mod controlplane/resource/generate.go $(wildcard controlplane/resource/v1alpha1/*.go) $(wildcard controlplane/resource/crdgen/*.go)
	@echo "==> generating schemas"
	go generate ./controlplane/resource
	@touch $@

demo: build ## run Weir before two versions of a real upstream, with live traffic (PORT=18080 to move it)
	@go build -o bin/demo ./examples/demo
	@exec bin/demo $(if $(PORT),--port $(PORT))

test: deps generate lint ## run every test; installs what the tests need
	@echo "==> vet";          go vet ./...
	@echo "==> race tests, fuzz seeds, e2e, README"
	go test -race -timeout 20m ./...
	@echo "==> tests of allocations and statistics, which the race detector would distort or slow down tenfold"
	go test ./traffic/... ./dataplane/...
	go test -run 'Alloc' ./model/... ./telemetry/...
	@echo "==> all passed"

conformance: generate ## run the programs of others against Weir, also those that take minutes, and print a table
	@.ci/deps conformance
	@echo "==> h2spec, gRPC interop, Autobahn, testssl.sh, OpenSSL, h2load, curl, Chromium, Grafana's data source"
	cd e2e && go test -run '^TestSuite' -count 1 -timeout 30m -conformance

deps: ## install what the tests need and this machine lacks
	@.ci/deps

lint: generate ## check style and common mistakes
	@echo "==> lint";         $(TOOL) golangci-lint run --allow-parallel-runners ./...

fmt: ## format every Go file
	$(TOOL) gofumpt -w $$(git ls-files -co --exclude-standard '*.go')

bench: build ## measure Weir against nginx, HAProxy, Envoy and Caddy; writes bench/RESULTS.md, PROTOCOLS.md and RELEASES.md
	@.ci/deps bench
	go run ./bench -weir bin/weir -only http1 -out bench/RESULTS.md
	go run ./bench -weir bin/weir -only protocols -out bench/PROTOCOLS.md
	go run ./bench -weir bin/weir -only release -out bench/RELEASES.md

screenshots: deps generate ## make the pictures in docs/console.md anew, after ten minutes of traffic
	go test ./e2e -run 'TestConsoleScreenshots|TestDemoMisbehaves|TestConsoleReleases' -timeout 20m -screenshots $(CURDIR)/docs/console

docs: generate ## write the reference pages of kinds, flags, metrics and response flags to docs/reference
	go run ./docs -o docs/reference

clean: ## remove what was built or generated
	rm -rf bin docs/reference examples/demo/.run examples/demo/certificate.* controlplane/resource/crds/*.yaml controlplane/resource/crds/*.json $(CRDS)
