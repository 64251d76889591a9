"""Run the cells of a notebook in a kernel of this Python, and keep what they print."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from cstlib.errors import CstlibError
from cstlib.paths import PACKAGE

# What the stored outputs are made with.
STORED_WITH = {
    "CSTLIB_BUDGET": "walkthrough",
    "CSTLIB_WORLD": "mini",
    "CSTLIB_BACKBONE": "",
}


def execute(
    notebook: Any,
    path: Path,
    timeout: int = 1800,
    environment: Mapping[str, str] = STORED_WITH,
) -> None:
    """Run all cells of ``notebook`` in place, in a new kernel beside ``path``.

    Args:
        environment: variables to set for the kernel.

    Raises:
        CstlibError: a cell raises, or takes longer than ``timeout`` seconds.
    """
    nbclient_exceptions = imported("nbclient.exceptions")
    client = _client(
        notebook,
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        # The kernel warns of its unencrypted port at every start.
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute(env={**os.environ, **_this_cstlib(), **environment})
    except nbclient_exceptions.CellExecutionError as error:
        failed = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
        raise CstlibError(
            f"A cell of {path.name} failed, so the stored notebook was left as it "
            f"was; mend the cell and run this again.\n{failed}"
        ) from error
    except (nbclient_exceptions.CellTimeoutError, TimeoutError) as error:
        raise CstlibError(
            f"A cell of {path.name} took longer than {timeout} s, so the stored "
            "notebook was left as it was: give the cell less to do."
        ) from error


def _this_cstlib() -> dict[str, str]:
    """What makes a kernel, which starts elsewhere, import the copy that runs this."""
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _client(notebook: Any, **options: Any) -> Any:
    """A notebook client whose stored outputs are the ones that nbval sees.

    What a widget's function draws goes, in a browser, into the widget. nbval has no
    browser and sees it as an output of the cell; this client stores it as one too.
    Readers of a stored notebook then see the figure at the widget's first position.
    """
    specs = imported("jupyter_client.kernelspec")
    kernel = imported("ipykernel.kernelspec")
    manager_class: Any = specs.KernelSpecManager
    client_class: Any = imported("nbclient").NotebookClient

    class ThisPython(manager_class):
        """Knows one kernel: the Python that runs this, whatever else is registered."""

        def get_kernel_spec(self, kernel_name: str) -> Any:
            return specs.KernelSpec(
                resource_dir=kernel.RESOURCES, **kernel.get_kernel_dict()
            )

    class Client(client_class):
        """Ignores the output widgets that a browser would fill."""

        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            manager.kernel_spec_manager = ThisPython()
            return manager

        def output(self, outs: Any, msg: Any, display_id: Any, cell_index: int) -> Any:
            cell = msg["parent_header"].get("msg_id")
            widgets = self.output_hook_stack.pop(cell, [])
            stored = super().output(outs, msg, display_id, cell_index)
            self.output_hook_stack[cell] = widgets
            return stored

        def clear_output(self, outs: Any, msg: Any, cell_index: int) -> None:
            if not self.output_hook_stack[msg["parent_header"].get("msg_id")]:
                super().clear_output(outs, msg, cell_index)

    return Client(notebook, **options)


def imported(name: str) -> Any:
    """A package that only notebooks and their pages need.

    Raises:
        CstlibError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise CstlibError(
            f"The package {name.partition('.')[0]} is missing: install the course's "
            "packages with pip install -r requirements.txt."
        ) from error
