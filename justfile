# One-line recipes; `just` lists them. Nothing here needs a key.

_default:
    @just --list

# Create .venv with everything that development needs
setup:
    python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]'

# Run the default suite; arguments go to pytest
test *args:
    .venv/bin/python -m pytest -q {{ args }}

# Run the tests of the installed program
acceptance:
    .venv/bin/python -m pytest -q -m "not long and not live" tests/acceptance

# Run the long fault and fuzz tests
long:
    .venv/bin/python -m pytest -q -m long tests

# Check style and formatting
lint:
    .venv/bin/ruff check . && .venv/bin/ruff format --check .

# Check types
types:
    .venv/bin/mypy

# Check which package may import which
contracts:
    .venv/bin/lint-imports

# Renew the generated tables of the documents
docs:
    UPDATE_DOCS=1 .venv/bin/python -m pytest -q -n0 tests/test_docs.py

# Build the documentation as a site, into build/site
site:
    .venv/bin/pip install -q -e '.[docs]' && .venv/bin/mkdocs build --strict

# Serve the emulator of fal; arguments as for `kling-batch emulator`
emulator *args:
    .venv/bin/kling-batch emulator {{ args }}

# Measure speed and memory against their bounds; arguments as for `python -m benchmarks`
bench *args:
    .venv/bin/python -m benchmarks {{ args }}

# Look for slips in the money code that no test notices; hours, or minutes for one module
mutants *args:
    rm -rf mutants/tests  # copied anew: one that was renamed since would be run as well
    .venv/bin/pip install -q -e '.[dev,mutation]' && .venv/bin/mutmut run {{ args }} && .venv/bin/mutmut results

# The share of such slips that is noticed, from a sample; arguments as for benchmarks/mutants.py
mutants-sample *args:
    .venv/bin/pip install -q -e '.[dev,mutation]' && .venv/bin/python benchmarks/mutants.py {{ args }}
