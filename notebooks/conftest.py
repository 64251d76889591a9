"""Makes ``pytest --nbval notebooks/`` work as typed, at the tests' budget.

The kernels that nbval starts inherit this process's environment, so the budget is
set here, before the first one starts.
"""

from __future__ import annotations

import os
from importlib import metadata, util
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def pytest_configure(config: pytest.Config) -> None:
    """Choose the tests' budget and this Python's kernel, and check the set-up."""
    if not (config.getoption("nbval", False) or config.getoption("nbval_lax", False)):
        return
    _require_this_cstlib()
    os.environ["CSTLIB_BUDGET"] = "test"
    # The stored outputs, with which nbval compares, are those of the miniature.
    os.environ["CSTLIB_WORLD"] = "mini"
    os.environ.pop("CSTLIB_BACKBONE", None)
    # The kernel of the Python that runs pytest, whatever is registered as "python3".
    # nbval allows one of the two choices only.
    if not config.option.nbval_kernel_name:
        config.option.nbval_current_env = True


def pytest_collection_finish(session: pytest.Session) -> None:
    """Render the miniature before the first notebook asks for it."""
    config = session.config
    if config.option.collectonly or os.environ.get("CSTLIB_BUDGET") != "test":
        return
    if any(item.path.suffix == ".ipynb" for item in session.items):
        _prepare_miniature(config)


def _prepare_miniature(config: pytest.Config) -> None:
    """Load the miniature with its progress bar visible; a minute without is long."""
    from cstlib.errors import CstlibError
    from cstlib.worlds import load_world

    capture = config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            load_world("mini")
    except CstlibError as error:
        raise pytest.UsageError(str(error)) from error


def _require_this_cstlib() -> None:
    """Stop if the notebooks' kernels would find no cstlib, or another copy of it."""
    try:
        metadata.version("cstlib")
    except metadata.PackageNotFoundError:
        raise pytest.UsageError(
            "cstlib is not installed in this Python, so the notebooks cannot import "
            "it: run `pip install -r requirements.txt` in the course's top folder, "
            "or `make test`, which does everything."
        ) from None
    spec = util.find_spec("cstlib")
    origin = Path(spec.origin).resolve() if spec and spec.origin else None
    if origin is None or origin.parent != HERE.parent / "cstlib":
        raise pytest.UsageError(
            f"The notebooks would test another copy of cstlib ({origin}): run "
            "`pip install -r requirements.txt` in this copy's top folder."
        )
