# make demo   the main job on made-up data: phantom images to a table of results
# make test   every test that this machine can run
# make bench  every benchmark beside its peers, and the page of results (an hour on two cores);
#             IMAGES=DIR of radiographs as PNG, made-up ones without it; OUT=DIR of the page, benchmarks without it
# make cluster   a SLURM of four made-up nodes to try things on, until Ctrl-C (root)
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
VENV := .venv
CXR := $(VENV)/bin/cxr
DATA := data/demo
RUNS := runs/demo
TEST_PROCESSES := 3
IMAGES :=
OUT := benchmarks
WITH_IMAGES = $(if $(IMAGES),--images $(IMAGES))

.PHONY: setup demo demo-data test lint format bench bench-setup cluster clean

setup:
	@.ci/setup

demo: demo-data
	$(CXR) grid submit demo --runs-dir $(RUNS) --data-dir $(DATA)
	$(CXR) report $(RUNS) --out $(RUNS)/report --data-dir $(DATA)
	@echo "runs: $(RUNS)/    report: $(RUNS)/report/index.html"

demo-data: setup
	$(CXR) phantom $(DATA)/phantom --datasets chexpert --patients 600 --size 96
	$(CXR) phantom $(DATA)/phantom --datasets chestxray14 --patients 350 --size 96
	$(CXR) phantom $(DATA)/phantom --datasets mimic_cxr --patients 700 --size 96
	$(CXR) convert chexpert --root $(DATA)/phantom/CheXpert-v1.0-small --out $(DATA)/chexpert.beton --size 64
	$(CXR) convert chestxray14 --root $(DATA)/phantom/ChestX-ray14 --out $(DATA)/chestxray14.beton --size 64
	$(CXR) convert mimic_cxr --root $(DATA)/phantom/MIMIC-CXR-JPG --out $(DATA)/mimic_cxr.beton --size 64

test: setup
	$(VENV)/bin/python -m pytest -n $(TEST_PROCESSES)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench-setup: setup
	benchmarks/setup

bench: bench-setup
	$(CXR) bench all $(WITH_IMAGES) --out $(OUT)

cluster: setup
	$(VENV)/bin/python tests/support/cluster.py

clean:
	rm -rf $(DATA) $(RUNS)
