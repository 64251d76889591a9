"""``python -m cstlib notebooks``: run the notebooks and store what they print.

The stored outputs are part of the course: readers see them before they run a cell,
and ``pytest --nbval notebooks/`` compares them. They are therefore made by one
command, in a clean kernel of this Python, in order, on the miniature and at the
walkthrough's budget.

With ``--try`` they are run in the world and at the budget that the environment names
(`cstlib.course`), and nothing is stored: does the course run on Pascal-5i here?
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cstlib import files
from cstlib.errors import CstlibError
from cstlib.paths import PACKAGE

FOLDER = PACKAGE.parent / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}
STORED_WITH = {
    "CSTLIB_BUDGET": "walkthrough",
    "CSTLIB_WORLD": "mini",
    "CSTLIB_BACKBONE": "",
}
KEPT_CELL_METADATA = ("tags",)


def add_parser(subparsers: Any) -> None:
    """Add ``notebooks`` to the command line."""
    parser = subparsers.add_parser(
        "notebooks",
        help="run the notebooks and store their outputs",
        description="Run the notebooks from top to bottom, each in a clean kernel, at "
        "the walkthrough's budget on the miniature, and store their outputs.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a notebook's name, its beginning (04), or its path; all if none is given",
    )
    parser.add_argument(
        "--try",
        action="store_true",
        dest="only_try",
        help="run them as CSTLIB_WORLD, CSTLIB_BACKBONE and CSTLIB_BUDGET say, and "
        "store nothing",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Regenerate (or try) the chosen notebooks, saying how long each took."""
    for path in find(args.names):
        name = path.name
        if path.parent.name == "solutions":
            name = f"solutions/{name}"
        print(f"{name}: running", flush=True)
        if args.only_try:
            print(f"{name}: ran in {attempt(path):.0f} s", flush=True)
            continue
        print(f"{name}: stored after {regenerate(path):.0f} s", flush=True)
    return 0


def find(names: list[str], folder: Path | None = None) -> list[Path]:
    """Notebooks by path or by the beginning of their names, in order; all if empty.

    Raises:
        CstlibError: a name fits no notebook, or there are no notebooks at all.
    """
    folder = FOLDER if folder is None else folder
    there = [
        path
        for path in folder.rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    ]
    known = sorted({*there, *solved(there)})
    if not known:
        raise CstlibError(
            f"There are no notebooks in {folder}: work in a clone of the course, "
            "installed in place with pip install -r requirements.txt."
        )
    if not names:
        return known
    chosen: list[Path] = []
    for name in names:
        hits = [path for path in known if path.name.startswith(Path(name).name)]
        if Path(name).is_file():
            hits = [Path(name)]
        if not hits:
            raise CstlibError(
                f"No notebook is called {name}: choose from "
                f"{', '.join(path.stem for path in known)}."
            )
        chosen += [path for path in hits if path not in chosen]
    return chosen


def solved(lessons: list[Path]) -> list[Path]:
    """Where the solutions of these lessons go, whether or not they are there yet."""
    from cstlib.solutions import FOLDER as folder
    from cstlib.solutions import solutions

    with_exercises = solutions()
    return [
        path.parent / folder / path.name
        for path in lessons
        if path.stem in with_exercises and path.parent.name != folder
    ]


def read(path: Path) -> Any:
    """The notebook at ``path``; one of solutions is built anew from its lesson.

    Raises:
        CstlibError: the file is no notebook, or lesson and solutions do not agree.
    """
    from cstlib.solutions import FOLDER as folder

    lesson = path.parent.parent / path.name
    if path.parent.name == folder and lesson.is_file():
        from cstlib.solutions.pages import build

        return build(lesson)
    nbformat = _import("nbformat")
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise CstlibError(
            f"{path} cannot be read as a notebook ({error}): restore it with git."
        ) from error


def regenerate(path: Path, timeout: int = 1800) -> float:
    """Run the notebook at ``path`` and replace it by the executed one, all or nothing.

    Args:
        timeout: seconds that one cell may take.

    Returns:
        Seconds that it took.

    Raises:
        CstlibError: the file is no notebook, or one of its cells fails; the stored
            notebook is then left as it was.
    """
    start = time.monotonic()
    notebook = read(path)
    execute(notebook, path, timeout)
    clean(notebook)
    files.write_text(path, _import("nbformat").writes(notebook).rstrip("\n") + "\n")
    return time.monotonic() - start


def attempt(path: Path, timeout: int = 1800) -> float:
    """Run the notebook at ``path`` as the environment says, and store nothing.

    Returns:
        Seconds that it took.

    Raises:
        CstlibError: as `regenerate`.
    """
    start = time.monotonic()
    execute(read(path), path, timeout, environment={})
    return time.monotonic() - start


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
    nbclient_exceptions = _import("nbclient.exceptions")
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


def clean(notebook: Any) -> None:
    """Take out of ``notebook``, in place, all that differs from run to run.

    Widget views go (their models live in a kernel that is gone, and their names are
    random) while the text that stands for them stays; metadata keep the tags alone;
    cells without an id get one from their place, so that it stays the same.
    """
    notebook.metadata = type(notebook.metadata)(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    taken: set[str] = set()
    for place, cell in enumerate(notebook.cells):
        kept = {k: cell.metadata[k] for k in KEPT_CELL_METADATA if cell.metadata.get(k)}
        cell.metadata = type(cell.metadata)(kept)
        identity = cell.get("id")
        if not identity or identity in taken:
            cell["id"] = f"cell-{place:03d}"
        taken.add(cell["id"])
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)


def _client(notebook: Any, **options: Any) -> Any:
    """A notebook client whose stored outputs are the ones that nbval sees.

    What a widget's function draws goes, in a browser, into the widget. nbval has no
    browser and sees it as an output of the cell; this client stores it as one too.
    Readers of a stored notebook then see the figure at the widget's first position.
    """
    specs = _import("jupyter_client.kernelspec")
    kernel = _import("ipykernel.kernelspec")
    manager_class: Any = specs.KernelSpecManager
    client_class: Any = _import("nbclient").NotebookClient

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


def _import(name: str) -> Any:
    """Import a package that only this command needs, or say how to get it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise CstlibError(
            f"The package {name.partition('.')[0]} is missing: install the course's "
            "packages with pip install -r requirements.txt."
        ) from error
