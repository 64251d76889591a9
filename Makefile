# make lab        set up, then open the notebooks in JupyterLab
# make test       set up, then run all tests and compare all notebooks
# make notebooks  set up, then run all notebooks and store their outputs
# make worlds     set up, then run all notebooks on made Pascal-5i and COCO-20i (minutes)
# make check      say what this machine has and what is missing
# make clean      delete .venv and everything that is computed anew
#
# PYTHON=/path/to/python3 chooses the Python, LAB_ARGS="--port 9999" adds to the call of
# JupyterLab. The README has the same steps without make.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?=
LAB_ARGS ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10 \
	python3.14 python)

.PHONY: lab test notebooks worlds check ready setup clean

lab: ready
	@set --; \
	if [ "$$(id -u)" = 0 ]; then set -- "$$@" --allow-root; fi; \
	if [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY$$BROWSER" ]; then \
		set -- "$$@" --no-browser; fi; \
	cd notebooks && exec ../$(PY) -m jupyterlab "$$@" $(LAB_ARGS)

# Both parts run whatever the first one says.
test: ready
	@status=0; \
	$(PY) -m pytest tests || status=1; \
	$(PY) -m pytest --nbval notebooks/ || status=1; \
	exit $$status

notebooks: ready
	@$(PY) -m cstlib notebooks

# What the tests leave out for its length.
worlds: setup
	@$(PY) -m pytest tests -m slow

check: setup
	@$(PY) -m cstlib check

ready: setup
	@$(PY) -m cstlib data mini

# Installs once, and again when requirements.txt changes or the folder has moved: the
# stamp is written last, and holds both.
setup:
	@if [ -x $(PY) ] && { pwd; cat requirements.txt; } | cmp -s - $(VENV)/installed; \
	then exit 0; fi; \
	if ! { [ -x $(PY) ] && { $(PY) -c 'import pip' || $(PY) -m ensurepip; } \
			>/dev/null 2>&1; }; then \
		python=; old=; \
		for candidate in $(CANDIDATES); do \
			version=$$($$candidate -c \
				'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) \
				|| continue; \
			if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 10))'; \
			then python=$$candidate; break; fi; \
			old="$${old:+$$old, }$$candidate is $$version"; \
		done; \
		if [ -z "$$python" ]; then \
			echo "The course needs Python 3.10 or newer, and there is none here" \
				"($${old:-no python3 found}): install one, or name it with" \
				"make lab PYTHON=/path/to/python3." >&2; exit 2; fi; \
		if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
			echo "$$python (Python $$version) lacks the venv module: install it" \
				"(on Debian and Ubuntu: apt install python3-venv) and run this" \
				"again." >&2; exit 2; fi; \
		echo "Building $(VENV) with $$python (Python $$version)."; \
		$$python -m venv --clear $(VENV) || exit 2; \
	fi; \
	echo "Installing requirements.txt; the first time this takes minutes."; \
	$(PY) -m pip install -r requirements.txt || exit 2; \
	{ pwd; cat requirements.txt; } > $(VENV)/installed

clean:
	rm -rf $(VENV) data/mini data/cache
