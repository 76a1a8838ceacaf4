# Everything that is done with nodevitals, by its name. `make run` and
# `make test` do all of their own set-up on a Debian-like machine with Go.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -E nodevitals_entry -X main.version=$(VERSION)
GOBIN   := $(CURDIR)/.cache/bin
GO      := go

GOLANGCI_VERSION := v2.15.0
HELM_VERSION     := v4.3.1

.PHONY: help
help: ## This list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/agent, static, for this machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/agent ./cmd/agent

.PHONY: run
run: build ## Build, and examine this machine
	@bin/agent --once || code=$$?; case $${code:-0} in 0|1|2|3) ;; *) exit $$code;; esac

.PHONY: cross
cross: ## Check that it builds for each platform
	for arch in amd64 arm64; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o /dev/null ./cmd/agent; done

.PHONY: test-deps
test-deps: ## Install what the tests need (Debian packages; root)
	@test/install-deps

# What makes no failure on the machine can be tested two packages at a time. Those
# packages that start goroutines are tested once more with the race detector, which
# makes them ten times slower, without what is one goroutine's work only (-short).
PACKAGES   = $(GO) list ./... | grep -v -E '/test(/|$$)'
GOROUTINES = grep -lrE --include='*.go' '^\s*go (func|[a-zA-Z.]+)\(|\.Go\(|t\.Parallel\(\)' cmd internal | xargs -n1 dirname | sort -u | sed 's,^,./,'

.PHONY: test
test: test-deps test-packages test-failures ## Run all tests

.PHONY: test-packages
test-packages: ## Run the packages' own tests, and again with the race detector
	$(GO) test -p 2 -timeout 10m $$($(PACKAGES))
	$(GO) test -p 2 -timeout 10m -race -short $$($(GOROUTINES))

.PHONY: test-failures
test-failures: test-deps $(GOBIN)/helm ## Run the tests that make real failures: one package after the other, as they share one machine
	$(GO) test -race -p 1 -timeout 20m $$($(GO) list ./test/... | grep -v /test/bench)
	$(GO) test -timeout 10m ./test/bench # measures, which the race detector would slow down tenfold

.PHONY: test-cluster
test-cluster: ## Run the tests against a real etcd and API server, which are built first (8 minutes, once)
	KUBEALL=$$(test/cluster/kubeall/build) && KUBEALL=$$KUBEALL $(GO) test -count=1 -parallel 16 -timeout 20m ./test/cluster # they mostly wait

.PHONY: e2e
e2e: $(GOBIN)/helm test-deps ## Install the chart on a real cluster of two nodes, and make one sick in many ways (5 minutes, once test-cluster has built it)
	KUBEALL=$$(test/cluster/kubeall/build) && KUBEALL=$$KUBEALL HELM=$(GOBIN)/helm $(GO) test -count=1 -v -timeout 20m ./test/e2e

.PHONY: guest
guest: ## Make failures in a virtual machine that this kernel cannot make: NFS, hung disks (10 minutes)
	GUEST_KERNEL=$$(test/guest/kernel) && GUEST_KERNEL=$$GUEST_KERNEL $(GO) test -count=1 -v -timeout 30m ./test/guest

.PHONY: fuzz
fuzz: ## Run every fuzz test for a few seconds (10 minutes)
	test/fuzz-all

.PHONY: lint
lint: $(GOBIN)/golangci-lint ## go vet, golangci-lint (with the ban on os/exec), gofumpt
	$(GO) vet ./...
	$(GOBIN)/golangci-lint run ./...

$(GOBIN)/golangci-lint: Makefile
	GOBIN=$(GOBIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

.PHONY: chart
chart: $(GOBIN)/helm $(GOBIN)/helm-unittest ## Check the Helm chart, and that the plain manifests are rendered from it
	$(GOBIN)/helm lint --strict deploy/chart/nodevitals
	$(GOBIN)/helm-unittest --strict deploy/chart/nodevitals
	$(MAKE) -s manifests OUT=$$(mktemp -d)/nodevitals.yaml COMPARE=deploy/manifests/nodevitals.yaml

.PHONY: manifests
OUT := deploy/manifests/nodevitals.yaml
manifests: $(GOBIN)/helm ## Render deploy/manifests/nodevitals.yaml from the chart
	@{ echo '# Rendered from deploy/chart/nodevitals by "make manifests": do not edit.'; \
	  $(GOBIN)/helm template nodevitals deploy/chart/nodevitals --namespace kube-system --skip-tests --no-hooks \
	  | grep -v -e '^ *app.kubernetes.io/managed-by: Helm$$' -e '^ *helm.sh/chart:'; } > $(OUT)
	@if [ -n "$(COMPARE)" ]; then diff -u $(COMPARE) $(OUT) || { echo 'deploy/manifests is out of date: run make manifests' >&2; exit 1; }; fi

$(GOBIN)/helm: Makefile
	GOBIN=$(GOBIN) CGO_ENABLED=0 $(GO) install -ldflags '-s -w' helm.sh/helm/v4/cmd/helm@$(HELM_VERSION)
	@touch $@

$(GOBIN)/helm-unittest: test/helm-unittest/go.sum
	cd test/helm-unittest && CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $@ github.com/helm-unittest/helm-unittest/cmd/helm-unittest

.PHONY: bench
bench: build image test-deps ## Measure, beside others: each probe, --once, the daemon over 60 s, logs, and how the cost grows (15 minutes)
	$(GO) test -count=1 -v -run TestGrowth ./test/bench -grow 100
	peer=$$(test/bench/peers/build) && $(GO) run ./test/bench -peer $$peer

.PHONY: generate
generate: ## Make the files that are made of the code: docs, alert rules, parts of the chart
	$(GO) run ./docs/gen
	$(GO) run ./deploy/alerts
	$(GO) run ./deploy/schema

.PHONY: bench-cluster
bench-cluster: ## Measure 5,000 agents at one real API server, beside as many node-problem-detectors (half an hour)
	$(GO) run ./test/scale

.PHONY: image
image: ## Make dist/nodevitals-image.tar, an OCI image for amd64 and arm64, without Docker
	mkdir -p dist
	for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dist/agent-$$arch ./cmd/agent; done
	$(GO) run ./deploy/image -o dist/nodevitals-image.tar -version $(VERSION) amd64=dist/agent-amd64 arm64=dist/agent-arm64
	@ls -l dist/nodevitals-image.tar

.PHONY: dist
dist: image $(GOBIN)/helm ## Make all of a release in dist/: binaries, image, chart, manifests, SBOM, checksums
	$(GOBIN)/helm package deploy/chart/nodevitals --destination dist >/dev/null
	cp deploy/manifests/nodevitals.yaml dist/
	$(GO) run ./deploy/sbom $(VERSION) dist/agent-amd64 dist/agent-arm64 > dist/nodevitals.cdx.json
	cd dist && rm -f SHA256SUMS && sha256sum * > SHA256SUMS && cat SHA256SUMS

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist .cache
