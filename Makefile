# Everything happens in .venv, by relative paths only: make cannot handle a target whose path has a
# space, and the folder's may.
#
#   make demo         installs the core, makes a sample film, indexes and searches it
#   make test         installs the core, [models] and the development tools, and runs the tests
#   make lint         ruff
#   make constraints  resolves constraints.txt anew, from pyproject.toml and the package index
#   make clean        removes .venv

UV_VERSION := 0.13.9
UV := .venv/bin/uv
INSTALL := $(UV) pip install --quiet --python .venv/bin/python \
	--constraints constraints.txt --build-constraints constraints.txt

.PHONY: demo test lint constraints clean

demo: .venv/.core
	.venv/bin/longtake demo

# A process a core, each with whole files of tests, since the tests of a file share what is costly to
# make; in the order of names, so that no long file is left to the end. With bytecode kept even where
# the environment says otherwise: hundreds of commands are started, and compiling what they import took
# them longer than their work.
test: .venv/.all
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 .venv/bin/python -m pytest \
		--numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

lint: .venv/.all
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# PYTHON=... names another interpreter. Some systems split ensurepip off from Python; there the
# system's own pip, if any, fills the environment.
.venv/.uv: Makefile
	@python="$(PYTHON)"; \
	for name in python3 python3.13 python3.12 python3.11 python; do \
		test -n "$$python" && break; \
		$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& python=$$name; \
	done; \
	test -n "$$python" || { echo "Longtake needs Python 3.11 or newer (make PYTHON=...)" >&2; exit 1; }; \
	"$$python" -m venv .venv >/dev/null 2>&1 || "$$python" -m venv --without-pip .venv; \
	if .venv/bin/python -m pip --version >/dev/null 2>&1; \
	then .venv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	else "$$python" -m pip --python .venv/bin/python install --quiet uv==$(UV_VERSION); \
	fi
	@touch $@

.venv/.core: .venv/.uv pyproject.toml constraints.txt
	@echo "Installing Longtake into .venv" >&2
	@$(INSTALL) --editable .
	@touch $@

# Always by uv, which takes torch and torchvision from one place, so that they fit each other.
.venv/.all: .venv/.core
	@echo "Installing the models' packages and the development tools (some GB)" >&2
	@$(INSTALL) --editable '.[models]' --group dev
	@touch $@

# For every Python and platform at once. Names and versions only: where they come from is the
# business of whoever installs.
constraints: .venv/.uv
	$(UV) pip compile --universal --python-version 3.11 --upgrade --extra models --group dev \
		--no-header --no-annotate --no-emit-index-url --quiet --output-file constraints.txt pyproject.toml

clean:
	rm -rf .venv
