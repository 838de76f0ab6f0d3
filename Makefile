# Everything a contributor runs. `make` alone lists it.

LINT_VERSION := v2.15.0
VULN_VERSION := v1.8.0

# Built tools stay here, one folder for each version; set it to share them between checkouts.
TOOLS ?= $(CURDIR)/.tools
LINT  := $(TOOLS)/golangci-lint-$(LINT_VERSION)/golangci-lint
VULN  := $(TOOLS)/govulncheck-$(VULN_VERSION)/govulncheck
PROMTOOL ?= $(or $(shell command -v promtool),$(TOOLS)/prometheus/usr/bin/promtool)

# Modules of their own, so that nothing they need is linked into the commands.
MODULES := cmd/traced deploy/check

# Options of single targets, as in `make fuzz FUZZTIME=1m`.
FUZZTIME ?= 1000x
PKG      ?= ./...
SEEDS    ?= 1
ARGS     ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z\/-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build enqueue and worker into bin/
	go build -o bin/ ./cmd/enqueue ./cmd/worker

# The end-to-end tests keep a machine busy and have bounds in time, so they run alone. Most of the
# others wait for a Redis of their own, so that more of them run at once than there are cores.
define tested
$(1) -p 4 $$(go list ./... | grep -v '/e2e$$')
$(1) ./cmd/internal/e2e
cd cmd/traced && $(1) ./...
endef

.PHONY: test
test: redis ## run the tests, against a redis-server that they start themselves
ifeq ($(PKG),./...)
	$(call tested,go test)
else
	go test $(PKG)
endif

# Short tells fewer random stories: one goroutine tells them, and `make test` tells them all. It has
# also vetted what go test vets.
.PHONY: test/race
test/race: redis ## run the tests under the race detector
ifeq ($(PKG),./...)
	$(call tested,go test -race -short -vet=off)
else
	go test -race -short -vet=off $(PKG)
endif

.PHONY: test/browser
test/browser: redis chromium ## open the worker's pages in headless Chromium
	go test -tags browser -timeout 10m ./cmd/internal/browser

.PHONY: screenshots
screenshots: redis chromium ## take the README's pictures anew
	SCREENSHOTS=$(CURDIR)/deploy/screenshots go test -tags browser -count=1 -run TestPictures ./cmd/internal/browser

.PHONY: cover
cover: redis ## run the tests and say how much of the code they reach (coverage.out)
	go test -coverpkg=./... -coverprofile=coverage.out $(PKG)
	@go tool cover -func=coverage.out | tail -n 1

# A target gets few inputs: this keeps the targets working and their corpora growing. Inputs are
# counted, as a few seconds are over before a busy machine has read the corpus, which go test takes
# for a failure now and then. Hunting takes `make fuzz FUZZTIME=10m PKG=./bitrix`.
.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (1000x: a thousand inputs)
	@listing=$$(go test -list '^Fuzz' $(PKG)) || { echo "$$listing"; exit 1; }; \
	echo "$$listing" | awk '/^Fuzz/ {name[n++] = $$1} /^ok/ {for (i = 0; i < n; i++) print $$2, name[i]; n = 0}' | \
	xargs -P 2 -L 1 sh -c 'out=$$(go test -run "^\$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -parallel 1 "$$0" 2>&1); status=$$?; \
		printf "%s %s\n%s\n" "$$0" "$$1" "$$out"; exit $$status'

.PHONY: bench
bench: redis ## measure against bare asynq and against the portals' limits; options in ARGS
	go run ./cmd/internal/bench $(ARGS)

# Each seed takes three to four minutes. `make chaos SEEDS="1 2 3" ARGS=-v` says what happens.
.PHONY: chaos
chaos: redis ## kill, freeze and cut everything off as SEEDS (1) decide, and compare row by row; options in ARGS
	go run ./cmd/internal/chaos $(ARGS) $(SEEDS)

# The limit is for the command once it is built, so a first call builds it.
.PHONY: quickstart
quickstart: ## run the first command of the README and check its result
	@go run ./cmd/enqueue --help >/dev/null
	@out=$$(mktemp) && trap 'rm -f "$$out"' EXIT && start=$$(date +%s) && \
	env -u REDIS_URL go run ./cmd/enqueue run --sandbox >"$$out" && \
	seconds=$$(($$(date +%s) - start)) && \
	registered=$$(grep -c '"status":"registered"' "$$out" || true) && \
	echo "quick start: $$registered rows registered, $$seconds s" && \
	{ [ "$$registered" -eq 60 ] || { echo "quick start: expected 60 registered rows" >&2; exit 1; }; } && \
	{ [ "$$seconds" -lt 20 ] || { echo "quick start: expected less than 20 s" >&2; exit 1; }; }

.PHONY: lint
lint: lint/fmt lint/vet lint/all lint/alerts lint/deploy ## check layout, go vet, every linter, alerts and deployment

.PHONY: lint/fmt
lint/fmt:
	@unformatted=$$(gofmt -l .) && [ -z "$$unformatted" ] || { echo "run gofmt on:" "$$unformatted" >&2; exit 1; }

.PHONY: lint/vet
lint/vet:
	go vet ./...
	go vet -tags browser ./cmd/internal/browser
	cd cmd/traced && go vet ./...

.PHONY: lint/all
lint/all: $(LINT)
	$(LINT) run ./...
	cd cmd/traced && $(LINT) run ./...

.PHONY: lint/alerts
lint/alerts: $(PROMTOOL) ## check Prometheus' configuration and the alerts, and test the alerts
	cd deploy/prometheus && $(PROMTOOL) check config prometheus.yml && $(PROMTOOL) check rules alerts.yaml && $(PROMTOOL) test rules alerts_test.yaml

# Uncached: what it looks at lies outside its module.
.PHONY: lint/deploy
lint/deploy: redis ## check image, compose file, manifests and unit, and run what the image holds
	cd deploy/check && go vet ./... && go test -count=1 ./...

.PHONY: tidy
tidy: ## check that go.mod and go.sum name exactly what is used
	go mod tidy -diff
	for module in $(MODULES); do (cd $$module && go mod tidy -diff) || exit 1; done

# govulncheck exits with 3 for findings. Without its database it cannot judge; that is said, and passes.
# deploy/check is in nothing that is shipped.
.PHONY: vuln
vuln: $(VULN) ## look for known vulnerabilities in what is used
	@bad=0; for module in . cmd/traced; do \
		out=$$(cd $$module && $(abspath $(VULN)) ./... 2>&1); status=$$?; echo "$$module: $$out"; \
		if [ $$status -ne 0 ] && [ $$status -ne 3 ] && echo "$$out" | grep -q 'fetching vulnerabilities'; then \
			echo "vuln: the database of vulnerabilities cannot be reached, so nothing was checked from $$module on"; break; \
		elif [ $$status -ne 0 ]; then bad=$$status; fi; \
	done; exit $$bad

.PHONY: redis
redis: ## install redis-server where it is missing
	@if command -v redis-server >/dev/null; then exit 0; fi; \
	if [ "$$(uname -s)" = Darwin ]; then echo "redis-server is missing: brew install redis" >&2; exit 1; fi; \
	if ! command -v apt-get >/dev/null; then echo "redis-server is missing: install it with this system's package manager" >&2; exit 1; fi; \
	root=; if [ "$$(id -u)" -ne 0 ]; then \
		if ! command -v sudo >/dev/null; then echo "redis-server is missing: as root, run apt-get install redis-server" >&2; exit 1; fi; \
		root=sudo; \
	fi; \
	$$root apt-get update -q && \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server

.PHONY: chromium
chromium: ## install chromium where it is missing
	@if command -v chromium >/dev/null; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "chromium is missing: install it with this system's package manager" >&2; exit 1; fi; \
	root=; if [ "$$(id -u)" -ne 0 ]; then \
		if ! command -v sudo >/dev/null; then echo "chromium is missing: as root, run apt-get install chromium" >&2; exit 1; fi; \
		root=sudo; \
	fi; \
	$$root apt-get update -q && \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-liberation

# Debian's package holds promtool; unpacked rather than installed, it starts no service.
$(TOOLS)/prometheus/usr/bin/promtool:
	@if ! command -v apt-get >/dev/null; then echo "promtool is missing: install Prometheus, or set PROMTOOL" >&2; exit 1; fi; \
	mkdir -p $(TOOLS)/prometheus && cd $(TOOLS)/prometheus && \
	root=; if [ "$$(id -u)" -ne 0 ]; then root=sudo; fi; \
	{ apt-get download -q prometheus || { $$root apt-get update -q && apt-get download -q prometheus; }; } && \
	dpkg -x prometheus_*.deb . && rm prometheus_*.deb

$(LINT):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

$(VULN):
	GOBIN=$(@D) go install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)
