# Jobledger: `make` prints what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PEERS  := $(VENV)/.peers
PATRONI := $(VENV)/.patroni
CONSOLE := $(VENV)/.console
BROWSER := $(VENV)/.browser
SITE   := $(VENV)/.site
PROTOS := $(wildcard protos/jobledger/v1/*.proto)
STUBS  ?= protos
# What `make bench` and the like measure on, and `make test T=…` runs on: sqlite or postgresql; for tests, both too.
STORE  ?= sqlite
# Wherever they may be kept, the tests are compiled once and not by each process.
export PYTHONDONTWRITEBYTECODE :=
# The tests start hundreds of servers, and so these are compiled first.
TESTS   = $(BIN)/python -m compileall -q protos client service && $(BIN)/pytest -n 3 --dist worksteal
# What T names: a folder, a file or a test (file.py::name) of tests/, a guarantee or a chapter of docs/guarantees.md, or
# else a part of names.
NAMED   = $(or $(CHECKED),$(FOUND))
CHECKED = $(if $(filter 3a 3b 3c 3d 3e 3a.% 3b.% 3c.% 3d.% 3e.%,$(T)),--guarantee '$(T)')
FOUND   = $(if $(wildcard tests/$(firstword $(subst ::, ,$(T)))),'tests/$(T)',-k '$(T)')
# The folders of tests/ that `make test-fast` need not import, because their tests have servers.
SERVED  = bulk contract examples foreign imports limits replicas
# How long `make fuzz` runs, on both stores or on FUZZED alone, and `make soak`.
soak: MINUTES ?= 30
MINUTES ?= 2
# How many jobs `make seed` makes, bench-reads and bench-targets read and bench-import sends; where the first makes them.
JOBS     ?= 100000
DATABASE ?= sqlite:///seeded.db
SYNC   ?= client/jobledger_client/_sync
GENERATED ?= client/jobledger_client/_generated
# What `buf breaking` compares with: the last release, or what is committed while there is none.
AGAINST ?= $(or $(shell git describe --tags --abbrev=0 --match 'v*' 2>/dev/null),HEAD)

# The systems under examples/, each as a small program.
EXAMPLES := speech_video ad_video transcoding image_crawler audio_mixing outbox

.DEFAULT_GOAL := help
.PHONY: help setup run demo demo-replicas demo-failover example examples console gen gen-check fmt lint types test test-fast test-long test-console pictures fuzz soak torture check bench bench-batches bench-reads bench-targets bench-import bench-isolation bench-overload bench-peers seed dist docs docs-serve clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-15s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment with everything in it

$(READY): constraints.txt pyproject.toml protos/pyproject.toml client/pyproject.toml service/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Jobledger needs Python 3.11 or newer; set PYTHON=")'
	@echo "Once, for a minute or two: all that Jobledger needs goes into $(VENV)"
	@echo "  1 of 4: a virtual environment" && $(PYTHON) -m venv $(VENV)
	@echo "  2 of 4: pip" && $(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip==26.3'
	@echo "  3 of 4: the tools and libraries of the tests" && $(BIN)/python -m pip install --quiet -c constraints.txt --group dev
	@echo "  4 of 4: Jobledger and its libraries" && $(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e protos -e 'client[cli,celery,outbox]' -e 'service[gs,redis,s3,seal]'
	@touch $@

$(PEERS): $(READY) bench/peers.txt
	@echo "Once, for some seconds: the queues that Jobledger is measured beside go into $(VENV)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -r bench/peers.txt
	@touch $@

$(PATRONI): $(READY) examples/failover/requirements.txt
	@echo "Once, for some seconds: Patroni goes into $(VENV)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -r examples/failover/requirements.txt
	@touch $@

$(CONSOLE): $(READY) console/pyproject.toml
	@echo "Once, for some seconds: what the console needs goes into $(VENV)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e console
	@touch $@

$(BROWSER): $(CONSOLE)
	@echo "Once, for some seconds: what drives a browser goes into $(VENV)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt --group browser
	@touch $@

$(SITE): $(READY) docs/requirements.txt
	@echo "Once, for some seconds: what builds the site of the documents goes into $(VENV)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -r docs/requirements.txt
	@touch $@

run: $(READY) ## Run a server on ./jobledger.db, port 7070
	$(BIN)/jobledger-server serve

demo: $(READY) ## Hash the standard library with three workers, one of which is killed
	$(BIN)/python -m examples.stdlib_hash.demo

demo-replicas: $(READY) ## Kill and drain replicas under work, and check what 50 watchers saw
	$(BIN)/python -m examples.replicas.demo

demo-failover: $(PATRONI) ## Lose the primary's host, a server and the network of three PostgreSQL under Patroni; needs etcd
	$(BIN)/python -m examples.failover.demo

example: $(READY) ## Run one of the systems under examples/: make example NAME=speech_video
	$(BIN)/python -m examples.$(or $(filter $(EXAMPLES),$(NAME)),$(error NAME is one of $(EXAMPLES)))

examples: $(READY) ## Run all of them, one after another
	@for name in $(EXAMPLES); do $(MAKE) --no-print-directory example NAME=$$name || exit 1; done

console: $(CONSOLE) ## Run a server with living jobs, and the console beside it
	@$(BIN)/python -m examples.living

gen: $(READY) ## Generate the stubs, the SDK's enums and exceptions, and the synchronous client
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=$(STUBS) --grpc_python_out=$(STUBS) \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--mypy_out=quiet:$(STUBS) --mypy_grpc_out=quiet:$(STUBS) $(PROTOS)
	$(BIN)/python -m protos.generate_reasons $(STUBS)
	$(BIN)/python -m client.generate_contract $(GENERATED)
	$(BIN)/python client/generate_sync.py $(SYNC)

gen-check: $(READY) ## Check that what is generated is up to date
	@fresh=$$(mktemp -d) && trap 'rm -rf $$fresh' EXIT && $(MAKE) --silent gen STUBS=$$fresh SYNC=$$fresh/_sync GENERATED=$$fresh/_generated && \
		(cd $$fresh && find . -name '*_pb2*' -type f) | while read -r stub; do cmp $$fresh/$$stub protos/$$stub || exit 1; done && \
		cmp $$fresh/jobledger/v1/reasons.py protos/jobledger/v1/reasons.py && \
		cmp $$fresh/__init__.py client/jobledger_client/__init__.py && \
		diff -r -x __pycache__ $$fresh/_generated client/jobledger_client/_generated && \
		diff -r -x _backend.py -x __pycache__ $$fresh/_sync client/jobledger_client/_sync

fmt: $(READY) ## Format the code and sort the imports
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format -w

lint: $(READY) ## Check style, layers and the contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=console $(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against '.git#ref=$(AGAINST)'

types: $(READY) ## Check the types
	$(BIN)/mypy

test: $(READY) ## Run the tests but the long ones, on both stores; T=watch: all of one folder, file, name or guarantee (3b.2), on STORE
	$(TESTS) $(if $(T),--store $(STORE) $(NAMED),--store both -m "not long")

test-fast: $(READY) ## Run the tests that start no server and no database process, in seconds
	$(BIN)/pytest -q -n 2 --dist worksteal -m fast --hypothesis-profile fast $(SERVED:%=--ignore tests/%)

test-long: $(READY) $(PATRONI) ## Run the tests that kill, restart and overload servers, on both stores
	$(TESTS) --store both -m long

test-console: $(BROWSER) ## Run the tests of the console in a browser; T=test_jobs: of one file, name or guarantee
	$(BIN)/pytest -q -n 2 --dist worksteal tests/console $(if $(T),$(or $(CHECKED),-k '$(T)'))

pictures: $(BROWSER) ## Write the pictures of the console to docs/images
	$(BIN)/pytest -q tests/console/test_pictures.py --pictures docs/images

fuzz: $(READY) ## Send anything to everything for MINUTES, from SEED; SEND='METHOD FILE' repeats one request
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(FUZZED),--store $(FUZZED)) $(if $(SEND),--send $(SEND))

soak: $(READY) ## Load, kill and forget for MINUTES, on STORE, from SEED, and print the slopes of what must level off
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) --store $(STORE) $(if $(SEED),--seed $(SEED))

torture: $(READY) ## Record load under faults for MINUTES from SEED on STORE (sqlite, postgresql, failover), and check the history
	@$(BIN)/python -m tests.torture --store $(STORE) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

docs docs-serve: export NO_MKDOCS_2_WARNING := 1
docs: $(SITE) ## Build the site of the documents in .site, without a network, and check its links
	$(BIN)/mkdocs build
	$(BIN)/python -m website.check .site

docs-serve: $(SITE) ## Show the site of the documents on port 8000, and build it again when they change
	$(BIN)/mkdocs serve

check: $(READY) ## Do all that CI does, and print how long each stage took
	@took=""; for stage in lint types gen-check docs test test-console test-long; do \
		began=$$(date +%s); $(MAKE) --no-print-directory $$stage || exit 1; \
		took="$$took  $$stage $$(( $$(date +%s) - began )) s"; echo "took so far:$$took"; \
	done

bench: $(READY) ## Measure against a bare grpc.aio server in the same run, and how soon a cancellation is known
	$(BIN)/python -m bench --store $(STORE)
	$(BIN)/python -m bench.cancellation --store $(STORE)

bench-batches: $(READY) ## Measure batches in a process, without a server, on STORE; in turn with the tree BESIDE
	$(BIN)/python -m bench.batches --store $(STORE) $(if $(BESIDE),--beside $(BESIDE))

bench-reads: $(READY) ## Measure reads at 10,000 and at JOBS jobs of the seed, on STORE
	$(BIN)/python -m bench.reads --jobs $(JOBS) --store $(STORE)

bench-targets: $(READY) ## Measure response times against targets at JOBS jobs of the seed, on STORE
	$(BIN)/python -m bench.response_times --jobs $(JOBS) --store $(STORE)

bench-import: $(READY) ## Measure an import of JOBS jobs, on STORE
	$(BIN)/python -m bench.imports --jobs $(JOBS) --store $(STORE)

bench-isolation: $(READY) ## Measure an owner's calls alone and beside attacks of another owner, on STORE
	$(BIN)/python -m bench.isolation --store $(STORE)

bench-overload: $(READY) ## Measure four times the load that the server can carry, by foreign callers and by the SDK, on STORE
	$(BIN)/python -m bench.overload --store $(STORE)

bench-peers: $(PEERS) ## Measure beside pgqueuer, procrastinate and etcd in the same run, under 10 minutes; beside etcd on STORE
	$(BIN)/python -m bench.peers --store $(STORE)

seed: $(READY) ## Fill an empty database with JOBS jobs, DATABASE or ./seeded.db
	$(BIN)/python -m bench.seed --jobs $(JOBS) --database $(DATABASE)

dist: $(READY) ## Build the packages into dist/, install them into clean environments and try them; needs the package index
	$(BIN)/python -m deploy.packages

clean: ## Remove the virtual environment, packages and caches
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
