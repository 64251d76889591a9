"""Checks of a stored notebook: what must hold so that readers and nbval can rely on it.

A check takes a parsed notebook and yields its faults as sentences.
`test_notebooks_contract` runs them all on all notebooks, and each on a notebook made
to break it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy

import nbformat
from nbformat import NotebookNode

CODE_COLUMNS = 76
IGNORE = "nbval-ignore-output"
COMPARED = ("text/plain", "text/html", "text/markdown", "text/latex")
# A folder of somebody's machine, on Linux, macOS or Windows.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|tmp|work|workspace|opt|usr|mnt|srv|private|var)"
    r"/\w"
    r"|\b[A-Z]:\\\w"
)
# What differs from run to run: addresses, progress bars.
UNSTABLE = {
    "an object's address": re.compile(r"\bat 0x[0-9a-f]{6,}"),
    "a progress bar": re.compile(r"\d+%\||\d(?:it|s|ep|img)/s\b|\d/s/it\b"),
}
OPENING = {
    "a title (# ...)": re.compile(r"\A# \S"),
    "what you will be able to do": re.compile(r"\bable to\b", re.IGNORECASE),
    "the time it takes (... minutes)": re.compile(r"\d+\s*min", re.IGNORECASE),
    "what it needs": re.compile(r"\bneeds?\b", re.IGNORECASE),
    "the paper's section": re.compile(r"\b(?:section|appendix)s?\b", re.IGNORECASE),
}


def code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """The code cells with their places in the notebook."""
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            yield place, cell


def is_ignored(cell: NotebookNode) -> bool:
    marked = re.search(r"^\s*#+\s*NBVAL_IGNORE_OUTPUT\s*$", cell.source, re.MULTILINE)
    return IGNORE in cell.metadata.get("tags", []) or marked is not None


def texts(cell: NotebookNode) -> Iterator[str]:
    """What nbval would compare of the cell's outputs."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        for kind, content in output.get("data", {}).items():
            if kind in COMPARED:
                yield content


def check_format(notebook: NotebookNode) -> Iterator[str]:
    identities = [cell.get("id") for cell in notebook.cells]
    if None in identities or len(set(identities)) < len(identities):
        yield "cell ids are missing or repeated"
        return
    try:
        nbformat.validate(deepcopy(notebook))  # it may mend what it is given
    except nbformat.ValidationError as error:
        yield f"not a valid notebook: {str(error).splitlines()[0]}"


def check_counts(notebook: NotebookNode) -> Iterator[str]:
    cells = list(code_cells(notebook))
    if not cells:
        yield "there are no code cells"
    if any(not cell.source.strip() for _, cell in cells):
        yield "there is an empty code cell"
    counts = [cell.execution_count for _, cell in cells]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}: run it from top to bottom"


def check_state(notebook: NotebookNode) -> Iterator[str]:
    if extra := set(notebook.metadata) - {"kernelspec", "language_info"}:
        yield f"the notebook stores metadata: {sorted(extra)}"
    for place, cell in enumerate(notebook.cells):
        if extra := set(cell.metadata) - {"tags"}:
            yield f"cell {place} stores metadata: {sorted(extra)}"
    for place, cell in code_cells(notebook):
        for output in cell.outputs:
            if any("widget" in kind for kind in output.get("data", {})):
                yield f"cell {place} stores a widget's view"


def check_errors(notebook: NotebookNode) -> Iterator[str]:
    for place, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {place} stores an error: {output.ename}"


def check_paths(notebook: NotebookNode) -> Iterator[str]:
    for place, cell in enumerate(notebook.cells):
        said = [cell.source, *(texts(cell) if cell.cell_type == "code" else ())]
        for text in said:
            if hit := MACHINE_PATH.search(text):
                yield f"cell {place} shows a path of a machine: {hit[0]}..."


def check_comparable(notebook: NotebookNode) -> Iterator[str]:
    for place, cell in code_cells(notebook):
        tags = cell.metadata.get("tags", [])
        if "nbval-skip" in tags or "NBVAL_SKIP" in cell.source:
            yield f"cell {place} is skipped: nbval never runs it"
        for output in cell.outputs:
            if any("svg" in kind for kind in output.get("data", {})):
                yield f"cell {place} stores an SVG, which nbval compares to the letter"
        if is_ignored(cell):
            continue
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"cell {place} is compared and writes to stderr"
        if "clear_output" in cell.source:
            yield f"cell {place} is compared and clears its output; nbval keeps it"
        if cell.source.rstrip().endswith(";"):
            yield (
                f"cell {place} ends in ';', which nbval does not honour: assign the "
                "result to _ instead"
            )
        for text in texts(cell):
            for what, pattern in UNSTABLE.items():
                if hit := pattern.search(text):
                    yield f"cell {place} is compared and prints {what}: {hit[0]}"


def check_share(notebook: NotebookNode) -> Iterator[str]:
    with_output = [cell for _, cell in code_cells(notebook) if any(texts(cell))]
    ignored = sum(map(is_ignored, with_output))
    if 3 * ignored > len(with_output):
        yield f"{ignored} of {len(with_output)} output cells are {IGNORE}: over a third"


def check_width(notebook: NotebookNode) -> Iterator[str]:
    for place, cell in code_cells(notebook):
        for line in cell.source.splitlines():
            if len(line) > CODE_COLUMNS:
                yield f"cell {place} has {len(line)} columns: {line.strip()[:40]}..."


def check_opening(notebook: NotebookNode) -> Iterator[str]:
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown":
        yield "it does not open with text"
        return
    for what, pattern in OPENING.items():
        if not pattern.search(first.source):
            yield f"the opening does not say {what}"


def check_recap(notebook: NotebookNode) -> Iterator[str]:
    heading = re.compile(r"^#+ .*\brecap\b", re.IGNORECASE | re.MULTILINE)
    last = notebook.cells[-1] if notebook.cells else None
    if last is None or last.cell_type != "markdown" or not heading.search(last.source):
        yield "it does not end with a recap (a heading with that word in the last cell)"


Check = Callable[[NotebookNode], Iterator[str]]
STORED: tuple[Check, ...] = (
    check_format,
    check_counts,
    check_state,
    check_errors,
    check_paths,
    check_comparable,
    check_share,
    check_width,
)
TOLD: tuple[Check, ...] = (check_opening, check_recap)
CHECKS = (*STORED, *TOLD)
