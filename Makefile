# `make reasoner` is the product; bare `make` prints what else there is.
# Logic lives in the `reasoner` command; this file brings the environment it runs in.

.DEFAULT_GOAL := help
.PHONY: help venv test-tools setup reasoner watch test test-all check fmt lint types doctor lock clean uninstall

UV_VERSION := 0.13.9
BIN := .venv/bin
UV := $(BIN)/uv
STAMP := .venv/reasoner.stamp

# Where the surroundings forbid bytecode, each process would compile torch and all else anew: 10 s, hundreds of times.
export PYTHONDONTWRITEBYTECODE :=

# The first Python of 3.11 or newer; PYTHON=... names another.
find_python = py=; for p in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	  if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then py=$$p; break; fi; \
	done; \
	if [ -z "$$py" ]; then \
	  echo "error: no Python 3.11 or newer" >&2; \
	  echo "  why   tried $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python" >&2; \
	  echo "  fix   install one (Debian: sudo apt-get install python3 python3-venv), or: make setup PYTHON=/path/to/python3" >&2; \
	  exit 3; \
	fi

help: ## print this
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make reasoner PROFILE=pocket RUN=name ARGS='--set train.steps=50'"
	@echo "  Environment: REASONER_CACHE REASONER_RUNS REASONER_TORCH_INDEX OLLAMA_HOST OLLAMA_MODELS LLAMA_CPP_DIR"

# The stamp is written last and says for which locks, and for which folder, the environment is whole. What is installed,
# and from where, is decided by reasoner/machine/environment.py.
venv:
	@want="$$(cat requirements*.lock pyproject.toml | cksum) $$PWD"; \
	if [ -x $(BIN)/reasoner ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	set -e; \
	rm -f $(STAMP) $(STAMP).tests; \
	$(find_python); \
	if ! { $(BIN)/python -m pip --version && case "$$($(BIN)/python -c 'import sys; print(sys.prefix)')" in "$$PWD"/*) ;; *) false;; esac; } >/dev/null 2>&1; then \
	  echo "reasoner: making .venv with $$($$py --version 2>&1)" >&2; \
	  if ! "$$py" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    echo "error: $$py cannot make virtual environments" >&2; \
	    echo "  why   its modules venv and ensurepip are missing" >&2; \
	    echo "  fix   sudo apt-get install python3-venv (or your system's package for it)" >&2; \
	    exit 3; \
	  fi; \
	  rm -rf .venv; "$$py" -m venv .venv; \
	fi; \
	$(BIN)/python -m pip --disable-pip-version-check install --quiet uv==$(UV_VERSION); \
	PYTHONPATH=. $(BIN)/python -m reasoner.machine.environment; \
	printf '%s\n' "$$want" > $(STAMP)

# The tests' own tools stay out of a user's environment.
test-tools: venv
	@[ -f $(STAMP).tests ] || { PYTHONPATH=. $(BIN)/python -m reasoner.machine.environment --tests && touch $(STAMP).tests; }

setup: venv ## bring everything that is missing; does nothing twice
	@$(BIN)/reasoner setup

reasoner: setup ## train, merge, quantize, register, evaluate: the whole path [PROFILE=] [RUN=] [ARGS=]
	@$(BIN)/reasoner run $(if $(PROFILE),--profile '$(PROFILE)') $(if $(RUN),--run '$(RUN)') $(ARGS)

watch: setup ## export, score and promote checkpoints as they are saved [RUN=] [ARGS='--with train']
	@$(BIN)/reasoner watch $(if $(RUN),'$(RUN)') $(if $(PROFILE),--profile '$(PROFILE)') $(ARGS)

test: setup test-tools ## the tests that a person runs, two files at a time [ARGS=]
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-all: setup test-tools ## those and the long ones: studies, fuzzing, faults [ARGS=]
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types test ## what CI runs

fmt: test-tools ## format, and repair what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: test-tools ## ruff, format included
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: test-tools ## mypy, strict
	@$(BIN)/mypy

doctor: ## what is here, what is missing, and the exact fix; works before setup
	@if [ -x $(BIN)/reasoner ]; then $(BIN)/reasoner doctor $(ARGS); else \
	  $(find_python); PYTHONPATH=. "$$py" -m reasoner.pipeline.doctor; fi

lock: venv ## resolve pyproject.toml anew into the lock files
	@set -e; compile="$(UV) pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock'"; \
	$$compile --extra train --extra serve -o requirements.lock; \
	$$compile --extra dev -c requirements.lock -o requirements-dev.lock; \
	$$compile --extra train --extra serve --extra gpu -o requirements-gpu.lock

clean: ## remove caches and build leftovers, never runs/
	@rm -rf .pytest_cache .mypy_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -not -path './.venv/*' -not -path './runs/*' -prune -exec rm -rf {} +

uninstall: ## remove what we installed and registered, nothing else; runs/ stays
	@if [ -x $(BIN)/reasoner ]; then $(BIN)/reasoner uninstall $(ARGS); fi
	@rm -rf .venv
