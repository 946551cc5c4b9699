# The two commands that a newcomer needs: `make demo` and `make test`.

SWITCH ?= softswitch
PY := .venv/bin/python
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
P4C ?= p4c-bm2-ss
# Everything that makes interfaces or processes runs in namespaces of its own, which go when it ends: on this host
# nothing is changed and nothing is left.
SANDBOX := $(SUDO) scripts/sandboxed
# All tests run in as many processes at once, each in a sandbox of its own and a file at a time: much of it is waiting.
JOBS ?= $(shell nproc)
IN_PARALLEL = --tx "$(JOBS)*popen//python=scripts/sandboxed $(PY)" --dist loadfile --no-loadscope-reorder
# Tests start hundreds of processes: none of them compiles its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check lint types format bench p4 install clean

help:
	@echo "make demo [SWITCH=bmv2] [STAY=1]   run the array in Mininet and prove it with real traffic"
	@echo "make test [SWITCH=bmv2] [ARGS=…]   run the tests, or those of pytest's ARGS"
	@echo "make check                         lint, types and tests: what CI runs"
	@echo "make bench [ONLY=…] [QUICK=1]      measure against the peers; KEEP=1 keeps a full run in docs/"
	@echo "make p4                            compile p4/ into p4/build/ (needs $(P4C))"

install:
	@scripts/bootstrap

demo: install
	@$(SUDO) $(PY) -m pentaflow demo --switch $(SWITCH) $(if $(STAY),--stay)

# The environment of p4runtime-shell is made here, where the network is; without it one test skips with the reason.
test: install
	@scripts/p4runtime-shell >/dev/null 2>&1 || true
	@$(SANDBOX) env SWITCH=$(SWITCH) $(PY) -m pytest $(or $(ARGS),$(IN_PARALLEL))

lint: install
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint tlsnodes

types: install
	@$(PY) -m mypy

check: lint types test

format: install
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench:
	@scripts/bootstrap iperf haproxy wrk
	@$(SANDBOX) $(PY) -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(KEEP),--keep)

p4:
	@$(P4C) --Werror --p4runtime-files p4/build/pentaflow.p4info.txtpb -o p4/build/pentaflow.json p4/pentaflow.p4
	@cd p4 && sha256sum *.p4 build/pentaflow.json build/pentaflow.p4info.txtpb >build/SHA256SUMS

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find tlsnodes -name '*.so' -delete
