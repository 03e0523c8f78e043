# make run      start galileod on 127.0.0.1:8750, storing into ./uploads
# make test     the whole suite
# make check    formatter, linter, types, import rules, known holes in dependencies, stray secrets
# make bench    the benchmarks, as a table
# make fuzz     a longer fuzzer for the receiving path; ARGS="SECONDS SEED"
# make screenshots  the pictures of the page in docs/, where there is a browser
# make install  what the others build on; quick when nothing changed
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test check bench fuzz screenshots install format clean

install: $(STAMP)

# The package is installed in place, so that only a change of these two files asks for pip again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("galileod needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

run: install
	@echo "galileod: storing into ./uploads; open http://127.0.0.1:8750/ in a browser, or send to ws://127.0.0.1:8750/upload; health at http://127.0.0.1:8750/healthz"
	@exec $(BIN)/galileod serve --listen 127.0.0.1:8750 --directory uploads

test: install
	$(BIN)/python -m pytest $(ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off
	git ls-files -z ':!tests' ':!galileod/web/vendor' | xargs -0 $(BIN)/detect-secrets-hook --no-verify --exclude-lines '"(id|sha1)": |"type": "sha1"'

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python bench/run.py $(ARGS)

fuzz: install
	$(BIN)/python tests/fuzz/fuzz_receive.py $(ARGS)

screenshots: install
	PYTHONPATH=tests $(BIN)/python tests/browser/screenshots.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
