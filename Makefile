# make run      start galileod on 127.0.0.1:8750, storing into ./uploads
# make test     the whole suite
# make check    formatter, linter, types, import rules, wording, vulnerable dependencies, stray secrets
# make bench    the benchmarks, as a table
# make fuzz     a longer fuzzer for the receiving path; ARGS="SECONDS SEED"
# make screenshots  the pictures of the page in docs/, where there is a browser
# make install  .venv with galileod and galileo-send, on which all others build
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_TESTS := $(VENV)/.installed-tests

.PHONY: run test check bench fuzz screenshots install install-tests format clean

install: $(INSTALLED)

install-tests: $(INSTALLED_TESTS)

# The package is installed in place, so only a change of these two files requires pip again.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("galileod needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(INSTALLED_TESTS): $(INSTALLED)
	$(PIP) -e '.[test]'
	touch $@

run: install
	@echo "galileod: storing into ./uploads; open http://127.0.0.1:8750/ in a browser, or send to ws://127.0.0.1:8750/upload; health at http://127.0.0.1:8750/healthz"
	@exec $(BIN)/galileod serve --listen 127.0.0.1:8750 --directory uploads

test: install-tests
	$(BIN)/python -m pytest $(ARGS)

check: install-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_text.py
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off
	git ls-files -z ':!tests' ':!galileod/web/vendor' | xargs -0 $(BIN)/detect-secrets-hook --no-verify --exclude-lines '"(id|sha1)": |"type": "sha1"'

format: install-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python bench/run.py $(ARGS)

fuzz: install-tests
	$(BIN)/python tests/fuzz/fuzz_receive.py $(ARGS)

screenshots: install-tests
	PYTHONPATH=tests $(BIN)/python tests/browser/screenshots.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
