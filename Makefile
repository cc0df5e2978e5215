# `make demo` and `make test` set themselves up. VENV=DIR re-uses a virtual environment.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed-$(shell sha256sum pyproject.toml | cut -c1-16)

RUNS ?= runs/emoji-photos
METHODS = oracle baseline csg

.PHONY: demo test lint
demo: $(STAMP)
	$(BIN)/csg-train data fetch emoji-photos
	for method in $(METHODS); do \
	  $(BIN)/csg-train run emoji-photos --set method.name=$$method --resume --out $(RUNS)/$$method-s0 || exit; \
	done
	$(BIN)/csg-analyze energy $(METHODS:%=$(RUNS)/%-s0/ckpt.pt)
	$(BIN)/csg-analyze gradcam $(METHODS:%=$(RUNS)/%-s0/ckpt.pt) --out $(RUNS)/gradcam
	$(BIN)/csg-report build $(RUNS) --out $(RUNS)/report
	@echo "the report: $(CURDIR)/$(RUNS)/report/index.html"

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[demo,test]'
	touch $@
