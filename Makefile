# make run      start galileod on 127.0.0.1:8750, with ./uploads as its storage directory
# make test     run all tests but those of the three targets below; ARGS are arguments of pytest
# make test-packages  build the packages, and install, upgrade and remove them
# make test-s3  store into Ceph, SeaweedFS and Swift
# make test-nodes  keep the ledger, in SQLite and PostgreSQL; share it between nodes behind HAProxy
# make test-python  run the tests that depend on Python and its packages alone
# make check    check format, lint, types, import rules, wording, vulnerable dependencies, secrets
# make bench    run the benchmarks, and print tables; ARGS are arguments of bench/run.py
# make fuzz     fuzz the receiving path for longer than the tests do; ARGS="SECONDS SEED"
# make conformance  judge all clients and servers of the repository with galileo-conformance
# make soak     for an hour and a half: kill the daemon, cut lines and break object storage while clients resume; 3 GiB of /tmp
#               SEED is the first seed of tests of chance that have one, ROUNDS their number
# make screenshots  take the screenshots of the page in docs/; needs a browser
# make packages build all packages into dist/; docs/install.md has what that needs
# make install  create .venv with galileod and galileo-send; the other targets do this first
#
# PYTHON creates the environment, and CONSTRAINTS has the versions that are installed into it. The tests
# have an environment for each: make test PYTHON=python3.13 CONSTRAINTS=constraints-lowest.txt uses
# .venv-python3.13-constraints-lowest.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
ifneq ($(filter test test-packages test-s3 test-nodes test-python,$(MAKECMDGOALS)),)
VENV := .venv$(patsubst %,-%,$(notdir $(filter-out python3,$(PYTHON))))$(patsubst %.txt,-%,$(filter-out constraints.txt,$(CONSTRAINTS)))
endif
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
INSTALLED := $(VENV)/.installed
INSTALLED_TESTS := $(VENV)/.installed-tests
INSTALLED_CHECKS := $(VENV)/.installed-checks
PUPPETEER := tests/browser/puppeteer
VITE := tests/packaging/vite
# Left out: what these test is a browser, systemd, a proxy, Prometheus, a filesystem, object storage, nodes, a package,
# or JavaScript rather than Python; bench and soak repeat, for longer, what other tests do once.
LEFT_OUT := bench browser conformance filesystems nodes packaging prometheus proxies soak storage/s3 systemd web
# Building and installing takes minutes, and packages change seldom.
PACKAGED := packaging systemd/test_package.py
# This starts servers of several kinds, which need gigabytes of memory.
OBJECTS := storage/s3
# What a ledger in PostgreSQL is for: with the others, they would take more than twelve minutes.
SHARED := ledger nodes e2e/test_postgresql.py hooks/test_shared_delivery.py
# What npm writes last. Installed only where tests can use it.
INSTALLED_PUPPETEER := $(if $(shell command -v npm >/dev/null && command -v firefox-esr),\
	$(PUPPETEER)/node_modules/.package-lock.json)
INSTALLED_VITE := $(if $(shell command -v npm),$(VITE)/node_modules/.package-lock.json)

.PHONY: run test test-packages test-s3 test-nodes test-python check bench fuzz conformance soak screenshots packages install install-tests install-checks format clean

install: $(INSTALLED)

install-tests: $(INSTALLED_TESTS) $(INSTALLED_PUPPETEER) $(INSTALLED_VITE)

install-checks: install-tests $(INSTALLED_CHECKS)

# The package is installed in editable mode, so that only changes of these two files require pip.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("galileod needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(INSTALLED_TESTS): $(INSTALLED)
	$(PIP) -e '.[test]'
	touch $@

$(INSTALLED_CHECKS): $(INSTALLED_TESTS)
	$(PIP) -e '.[test,check]'
	touch $@

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --loglevel=error
	touch $@

run: install
	@echo "galileod: storing into ./uploads; open http://127.0.0.1:8750/ in a browser, or send to ws://127.0.0.1:8750/upload; health at http://127.0.0.1:8750/healthz"
	@exec $(BIN)/galileod serve --listen 127.0.0.1:8750 --directory uploads

# Compiled tests are kept, whatever the environment says: else each worker compiles all of them.
test: install-tests
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PACKAGED:%=--ignore=tests/%) $(OBJECTS:%=--ignore=tests/%) $(SHARED:%=--ignore=tests/%) $(ARGS)

test-packages: install-tests
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PACKAGED:%=tests/%) $(ARGS)

test-s3: $(INSTALLED_TESTS)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(OBJECTS:%=tests/%) $(ARGS)

test-nodes: $(INSTALLED_TESTS)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(SHARED:%=tests/%) $(ARGS)

test-python: $(INSTALLED_TESTS)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(LEFT_OUT:%=--ignore=tests/%) $(ARGS)

check: install-checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_text.py
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off
	git ls-files -z ':!tests' ':!galileod/web/vendor' | xargs -0 $(BIN)/detect-secrets-hook --no-verify --exclude-lines '"(id|sha1|upload)": |"type": "sha1"|"SECRET_KEY"'

format: install-checks
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The benchmarks of object storage start it as the tests do.
bench: $(INSTALLED_TESTS)
	$(BIN)/python bench/run.py $(ARGS)

fuzz: install-tests
	$(BIN)/python tests/fuzz/fuzz_receive.py $(ARGS)

conformance: install-tests
	PYTHONPATH=tests $(BIN)/python tests/conformance/implementations.py $(ARGS)

# One at a time: each test has the machine for itself.
soak: install-tests
	SOAK=1 $(BIN)/python -m pytest -n 0 -s tests/soak tests/files/test_model.py tests/ledger/test_model.py tests/e2e/test_resume_limits.py tests/browser/test_resuming.py tests/browser/test_page_tree.py tests/client/command/test_run_trees.py tests/conformance/test_broken.py tests/nodes tests/storage/s3/test_node_races.py tests/storage/s3/test_faults.py tests/storage/s3/test_faults_requests.py $(ARGS)

screenshots: install-tests
	PYTHONPATH=tests $(BIN)/python tests/browser/screenshots.py

# Each builds one kind of package, and can be called alone.
PACKAGES := wheels npm-package deb image
packages: install
	for each in $(PACKAGES); do PYTHON="$(CURDIR)/$(BIN)/python" packaging/$$each || exit 1; done

clean:
	rm -rf .venv .venv-* $(PUPPETEER)/node_modules $(VITE)/node_modules conformance-report examples/go/bin .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
