# The developer's commands; CI runs the same ones. Everything happens in .venv, which the first command makes.
PYTHON ?= python3
BIN := .venv/bin
PROMPT ?= The sky is blue because
NATIVE := $(wildcard llama_cpp/*.pyx llama_cpp/*.pxd llama_cpp/native/*.pxi) CMakeLists.txt setup.py vendor/fetch.py vendor/pin.toml $(wildcard vendor/patches/*.patch)

.PHONY: demo test test-clients test-sanitizers test-wheels check docs bench bindings build clean

demo: build
	$(BIN)/llama-cpp run --temperature 0 --repeat-penalty 1.1 "$(PROMPT)"

test: build
	$(BIN)/python -m pytest

# Published programs for llama-cpp-python, with this package in its place; each in an environment that is kept.
test-clients: build
	$(BIN)/python -m pytest tests/clients/ray_data.py tests/clients/environments.py

# _core and llama.cpp built with sanitizers, in folders that are kept; and a stress test of that many seconds for each.
STRESS ?= 60
test-sanitizers: build
	$(BIN)/python tests/sanitizers/run.py --stress $(STRESS)

# The wheels that are published, for every Python on this machine; llama.cpp is compiled for every kind of CPU, once.
test-wheels: build
	$(BIN)/python -m pytest tests/packaging/wheels.py

check: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest llama_cpp._core --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist
	PATH="$(abspath $(BIN)):$$PATH" cython-lint llama_cpp  # which starts pycodestyle by its bare name

# The site, to be read from build/site/index.html. Not with --quiet, under which --strict counts no warnings.
docs: build
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# In the folder that setup.py has configured, so that llama.cpp's programs and _core are linked with the same objects.
bench: build
	folder=build/cmake-$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_platform())') \
	&& $(BIN)/cmake -DLLAMA_CPP_CYTHON_BENCH=ON -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) $$folder \
	&& $(BIN)/cmake --build $$folder --target llama-bench llama-batched-bench llama-server llama-quantize
	$(BIN)/python -m benchmarks

# The ctypes declarations of llama.h, anew from the vendored header.
bindings: build
	$(BIN)/python vendor/bindings.py

build: .venv/built

clean:
	rm -rf .venv build dist llama_cpp_cython.egg-info llama_cpp/_core.*.so

.venv/built: .venv/installed $(NATIVE)
	$(BIN)/python setup.py --quiet build_ext --inplace
	touch $@

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	|| { echo "$(PYTHON) cannot create a virtual environment: apt-get install python3-venv" >&2; exit 1; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
	|| { echo "Python.h is missing: apt-get install python3-dev" >&2; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null \
	|| { echo "There is no C++ compiler: apt-get install g++" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Compiling llama.cpp: this takes some minutes, but only the first time."
	$(BIN)/python -m pip install --editable '.[dev,docs]'
	touch $@
