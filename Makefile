# `make demo` and `make test` are all that one needs: each installs what it uses into .venv, from python3, g++ and make.
#
#   make demo [VIEWER=0] [TORCH=…]  train, judge and show the bundled capture; VIEWER=0 ends by itself
#   make test [JOBS=2]              the test suite             make test-long   the tests that train for minutes
#   make check                      formatting and lint        make format      what of it can be mended by itself
#   make wheel                      one wheel in dist/         make sanitize    the operators' tests under ASan and UBSan
#   make gpu-check                  on a machine with a GPU: build, test and measure it beside gsplat (benchmarks/README.md)
#   make gpu-bundle                 one folder in dist/ with all that gpu-check needs on a machine without a network
#
# TORCH is what pip installs as torch: a version, a wheel, or a name with options. The small build without CUDA:
#   make demo TORCH='torch --index-url URL', with the URL that pytorch.org shows for Linux, Pip and CPU
#
# The library for GPUs is built where nvcc is found and the installed torch has CUDA; NEURAL3D_CUDA=1 builds it
# always, NEURAL3D_CUDA=0 never. A wheel carries it wherever nvcc is found.

PYTHON ?= python3
VENV ?= .venv
VIEWER ?= 1
# Files of tests that run at a time.
JOBS ?= 2
TORCH ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
SOURCES := pyproject.toml setup.py $(shell find cuda_ext -type f)

# With CUDA or without was asked for, and it is not as it was built: build it again.
ifneq ($(NEURAL3D_CUDA),)
ifneq ($(NEURAL3D_CUDA),$(shell cat $(VENV)/cuda-choice 2>/dev/null))
.PHONY: $(VENV)/stamp-package $(VENV)/stamp-tests
endif
endif

# Another torch than the installed one was asked for: install it.
ifneq ($(TORCH),)
ifneq ($(TORCH),$(shell cat $(VENV)/torch-spec 2>/dev/null))
.PHONY: $(VENV)/stamp-torch
endif
endif

# Ends the recipe unless $(1), an apt package, could be installed; $(2) says what it is for.
define need_package
{ if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -y -q $(1); \
  else echo "neural3d needs $(2). Install it with: sudo apt-get install -y $(1)" >&2; exit 1; fi; }
endef

# What Open3D needs of the system, in a small command of its own: its tests are skipped where that is missing.
OPEN3D_FILES := libEGL.so.1 libGL.so.1 libusb-1.0.so.0
OPEN3D_PACKAGES := libegl1 libgl1 libusb-1.0-0

# Runs clang-format with the options $(1) over the C++ sources.
define clang_format
if command -v clang-format >/dev/null; then find cuda_ext -name '*.cpp' -o -name '*.h' -o -name '*.cu' | xargs clang-format $(1); \
else echo "clang-format is not installed: the C++ sources are left out"; fi
endef

.PHONY: demo install open3d-libraries test test-long sanitize gpu-check gpu-bundle check format wheel clean

demo: install
	$(BIN)/neural3d demo $(if $(filter 0,$(VIEWER)),--no-viewer)

install: $(VENV)/stamp-package

# torch's threads sleep while they wait: the other file's tests want the processor.
test: $(VENV)/stamp-tests
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not long"

test-long: $(VENV)/stamp-tests
	$(BIN)/pytest -m long

# The sanitizers' libraries must be the first that are loaded. Leaks are not looked for: Python and torch keep memory to the end.
sanitize: $(VENV)/stamp-tests
	NEURAL3D_SANITIZE=address,undefined $(BIN)/python setup.py -q build --build-base build/sanitize --build-lib build/sanitize/lib
	NEURAL3D_TEST_DEVICE=cpu PYTHONPATH=build/sanitize/lib LD_PRELOAD="$$(for name in asan ubsan stdc++; do g++ -print-file-name=lib$$name.so; done | tr '\n' :)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(BIN)/pytest tests/ops

# STEP is build, test, sanitize, train or bench; each takes 8 minutes at most, and goes on where it was stopped.
gpu-check: $(VENV)/stamp-tests
	$(BIN)/python benchmarks/gpu_check.py $(or $(STEP),all)

gpu-bundle: $(VENV)/stamp-tests
	$(BIN)/python benchmarks/gpu_bundle.py

check: $(VENV)/stamp-ruff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(call clang_format,--dry-run --Werror)

format: $(VENV)/stamp-ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@$(call clang_format,-i)

wheel: $(VENV)/stamp-torch
	rm -rf build/lib*
	$(PIP) wheel . --no-build-isolation --no-deps --wheel-dir dist

clean:
	rm -rf build dist *.egg-info

# Each step leaves a stamp, so that the second `make` installs nothing, and a change only what it concerns.
$(VENV)/stamp-venv:
	@command -v g++ >/dev/null || $(call need_package,g++,a C++ compiler)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "neural3d needs Python 3.11 or newer;" \
	  "$(PYTHON) is $$($(PYTHON) --version). Name another one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call need_package,$(notdir $(PYTHON))-venv,the venv module of Python)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt setuptools wheel ninja
	@touch $@

# --no-compile: Python compiles the few modules of torch that are used when they are; all of them take a third of a minute.
$(VENV)/stamp-torch: $(VENV)/stamp-venv constraints.txt
	grep -v $(if $(TORCH),'^torch==','^#') constraints.txt > $(VENV)/constraints.txt
	$(PIP) install --no-compile -c $(VENV)/constraints.txt $(or $(TORCH),torch)
	@echo '$(TORCH)' > $(VENV)/torch-spec
	@touch $@

# --no-build-isolation: isolation would fetch a second torch to build against.
$(VENV)/stamp-package: $(VENV)/stamp-torch $(SOURCES)
	$(PIP) install -c $(VENV)/constraints.txt --no-build-isolation --editable .
	@echo '$(NEURAL3D_CUDA)' > $(VENV)/cuda-choice
	@touch $@

$(VENV)/stamp-tests: $(VENV)/stamp-torch $(SOURCES)
	$(PIP) install -c $(VENV)/constraints.txt --no-build-isolation --editable '.[test]'
	@$(MAKE) --no-print-directory open3d-libraries
	@echo '$(NEURAL3D_CUDA)' > $(VENV)/cuda-choice
	@touch $(VENV)/stamp-package $@

# Debian's; elsewhere Open3D brings them, or says what it lacks. Where they cannot be had the other tests run all the same.
open3d-libraries:
	@! command -v apt-get >/dev/null || \
	  $(BIN)/python -c 'import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]' $(OPEN3D_FILES) 2>/dev/null || \
	  ( $(call need_package,$(OPEN3D_PACKAGES),system libraries for Open3D) ) || echo "going on without Open3D" >&2

$(VENV)/stamp-ruff: $(VENV)/stamp-venv constraints.txt
	$(PIP) install -c constraints.txt ruff
	@touch $@
