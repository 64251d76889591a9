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
import time
from pathlib import Path
from typing import Any

from cstlib import files
from cstlib.errors import CstlibError
from cstlib.notebook_kernel import execute, imported
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
    nbformat = imported("nbformat")
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
    files.write_text(path, imported("nbformat").writes(notebook).rstrip("\n") + "\n")
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
