# Development tasks. Everything happens in .venv, which `install` makes; the second time each is quick.
# PYTHON chooses the interpreter (3.11 or later); ARGS is passed on: make test ARGS="tests/sinks -x".

PYTHON ?= python3
ARGS ?=
# Tests run in so many processes, each with services of its own; WORKERS=0 runs them in one, for a debugger.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PARTS := schemas producers streams sinks api deploy
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# In the environment, the versions hold for the tools that build costledger too: the second name is for pip from 25.3 on.
LOCKED := PIP_CONSTRAINT=requirements.lock PIP_BUILD_CONSTRAINT=requirements.lock
# What hatch_build.py compiles.
TWINS := $(shell find $(PARTS) -name '_*.pyx')

INSTALL_ALL = $(PYTHON) -m venv $(VENV) && $(LOCKED) $(PIP) install --editable '.[dev]'
# Where all else is as it was: seconds.
INSTALL_OURS = $(PIP) install --no-deps --no-build-isolation --editable .

# pip keeps the warning of hatch_build.py to itself.
define SAY_WHAT_IS_SLOWER
from costledger.deploy.checks import compiled_modules
from costledger.deploy.twins import twins
check = compiled_modules(twins())
if check.remedy:
    print(f'warning: {check.detail}; {check.remedy}')
endef
export SAY_WHAT_IS_SLOWER

.DEFAULT_GOAL := help
.PHONY: help always install demo test lint bench bench-quick bench-keep bench-growth fault soak

help:
	@echo 'make install   a .venv with everything, at the versions of requirements.lock'
	@echo 'make demo      the whole system in a temporary directory, fed with a sample'
	@echo 'make test      all tests, against real services (see tests/fixtures)'
	@echo 'make lint      ruff, mypy --strict, the layers of the architecture'
	@echo 'make bench     speed beside peers: a table, and build/bench.json (minutes; see tests/bench)'
	@echo 'make bench-quick   the same in under five minutes: fewer runs, no peer that must be installed, no latency, no API'
	@echo 'make bench-keep   the last documents of both become those in Git that later ones are compared to'
	@echo 'make bench-growth   how memory, recovery, rates and the API grow, with plots; ARGS="--curve users --users 1000" for less'
	@echo 'make fault     all that harms processes, with the soak of 20 minutes (RELIABILITY.md); again with SEEDS="1 2 3"'
	@echo '                one scenario: make fault ARGS=tests/fault/scenarios/test_fault_redis.py, or ARGS="-k redis"'
	@echo 'make soak      the soak alone: make soak MINUTES=3'

install: $(STAMP)

# A wish about compiling (README.md) is always carried out: the stamp does not tell what the last one was.
$(STAMP): pyproject.toml requirements.lock hatch_build.py $(TWINS) $(if $(COSTLEDGER_COMPILE),always)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "costledger needs Python 3.11 or later; make PYTHON=...")'
	@test -d $(VENV) || echo 'installing into $(VENV): 1.2 GB, minutes the first time'
	$(if $(filter pyproject.toml requirements.lock,$?),$(INSTALL_ALL),$(INSTALL_OURS))
	@$(BIN)/python -c "$$SAY_WHAT_IS_SLOWER"
	@touch $@

demo: install
	$(BIN)/costledger demo $(ARGS)

test: install
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(PARTS:%=%/costledger)
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m tests.bench $(ARGS)

# A document of its own: it is compared to the last quick one.
bench-quick: install
	$(BIN)/python -m tests.bench --runs 3 --peers cheap --many-users 0 --history-days 0 --latency-seconds 0 --ledger-events 0 --output build/bench-quick.json $(ARGS)

# To be committed. Each is compared to the one of its own name.
bench-keep:
	mkdir -p tests/bench/results
	cp $(wildcard build/bench.json build/bench-quick.json) tests/bench/results/

# Hours with all its points; rows are added to those in build/growth.json.
bench-growth: install
	$(BIN)/python -m tests.bench.growth $(ARGS)

# Without SEEDS a random one; each is printed before its run, and the first failure ends all.
SEEDS ?=
# What pytest returns where nothing was selected: ARGS may name a scenario alone, or the soak.
NO_TESTS := 5

# How long the soak does harm.
MINUTES ?= 20

fault: install
	@seeds="$(SEEDS)"; \
	test -n "$$seeds" || seeds=$$($(BIN)/python -c 'import random; print(random.randrange(2**32))') || exit 1; \
	for seed in $$seeds; do \
		case "$$seed" in *[!0-9]*) echo "SEEDS are whole numbers, such as SEEDS=\"1 2 3\"; $$seed is none" >&2; exit 2;; esac; \
	done; \
	for seed in $$seeds; do \
		echo "COSTLEDGER_TEST_SEED=$$seed"; \
		export COSTLEDGER_TEST_SEED=$$seed COSTLEDGER_TEST_SIMULATION=full COSTLEDGER_TEST_REQUIRE=apache \
			COSTLEDGER_FAULT_SOAK_MINUTES=$(MINUTES); \
		scenarios=0; $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile -m "(fault or long) and not soak" $(ARGS) || scenarios=$$?; \
		case $$scenarios in 0|1|$(NO_TESTS)) ;; *) exit $$scenarios;; esac; \
		soak=0; $(BIN)/pytest -m soak $(ARGS) || soak=$$?; \
		case "$$scenarios $$soak" in "0 0"|"0 $(NO_TESTS)"|"$(NO_TESTS) 0") ;; \
			"$(NO_TESTS) $(NO_TESTS)") echo "ARGS select no test of the harness: nothing was shown" >&2; exit 1;; *) exit 1;; esac; \
	done

# A soak that was left out for want of Apache Kafka has shown nothing: it fails.
soak: install
	$(if $(SEEDS),COSTLEDGER_TEST_SEED=$(firstword $(SEEDS))) COSTLEDGER_TEST_REQUIRE=apache COSTLEDGER_FAULT_SOAK_MINUTES=$(MINUTES) \
		$(BIN)/pytest -m soak tests/fault/soak $(ARGS)
