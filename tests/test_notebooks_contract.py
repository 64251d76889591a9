"""Every stored notebook keeps the contract, and every check of it can fail."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from nbformat import NotebookNode, v4
from notebook_contract import CHECKS, CODE_COLUMNS, IGNORE, STORED

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = (
    "00_the_task",
    "01_dino_attention",
    "02_pseudo_masks",
    "03_correlation_tokens",
    "04_cst",
    "05_image_level_training",
    "06_mixed_supervision",
    "07_full_supervision",
    "08_ablations",
    "09_your_own_images",
)


def stored_notebooks() -> list[Path]:
    """All notebooks, solutions included, without JupyterLab's own copies."""
    folders = (ROOT / "notebooks", ROOT / "solutions")
    found = [path for folder in folders for path in folder.rglob("*.ipynb")]
    return sorted(p for p in found if ".ipynb_checkpoints" not in p.parts)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def test_all_notebooks_exist() -> None:
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(EXPECTED) <= there


@pytest.mark.parametrize("path", stored_notebooks(), ids=name_of)
def test_notebook_keeps_the_contract(path: Path) -> None:
    # Not nbformat.read, which would mend some faults.
    notebook = v4.reads(path.read_text(encoding="utf-8"))
    # A solution repeats no goals and no recap.
    checks = CHECKS if path.parent == ROOT / "notebooks" else STORED
    faults = [fault for check in checks for fault in check(notebook)]
    assert not faults, "\n".join([name_of(path), *faults])
    assert path.stat().st_size < 5_000_000, "too large to clone: draw smaller figures"


# ---- Each check on a notebook made to break it ---------------------------------------


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return v4.new_output("stream", name=name, text=text)


def shown(**kinds: str) -> NotebookNode:
    return v4.new_output(
        "display_data", {k.replace("_", "/"): v for k, v in kinds.items()}
    )


@pytest.fixture
def good() -> NotebookNode:
    """A small notebook without fault: 4 output cells, 1 of them ignored."""
    sources = ["x = 1", "print(x)", "print(2)", "draw()", "print(time())"]
    outputs = [[], [stream("1\n")], [stream("2\n")], [shown(text_plain="<Figure>")]]
    cells = [
        v4.new_code_cell(source, outputs=output, execution_count=count)
        for count, (source, output) in enumerate(
            zip(sources, [*outputs, [stream("0.3\n")]], strict=True), start=1
        )
    ]
    cells[-1].metadata["tags"] = [IGNORE]
    opening = "# Masks\nYou will be able to draw.\n20 minutes. Needs: 01. Section 3.2."
    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell(opening),
            *cells,
            v4.new_markdown_cell("## Recap\nDrawn."),
        ]
    )


def faults_by_check(notebook: NotebookNode) -> dict[str, list[str]]:
    """Names of the checks that object, with what they say."""
    said = {check.__name__: list(check(notebook)) for check in CHECKS}
    return {name: faults for name, faults in said.items() if faults}


def test_a_good_notebook_has_no_fault(good: NotebookNode) -> None:
    assert faults_by_check(good) == {}


Break = Callable[[NotebookNode], object]


def code(notebook: NotebookNode, number: int) -> NotebookNode:
    return notebook.cells[number]


def set_count(value: int | None) -> Break:
    return lambda nb: code(nb, 2).update(execution_count=value)


def add_output(output: NotebookNode, number: int = 2) -> Break:
    return lambda nb: code(nb, number).outputs.append(output)


def set_source(source: str, number: int = 2) -> Break:
    return lambda nb: code(nb, number).update(source=source)


def set_tags(*tags: str, number: int = 2) -> Break:
    return lambda nb: code(nb, number).metadata.update(tags=list(tags))


SOMEBODY = "/Users/ada/masks.png"
VIEW = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": ""}
ERROR = v4.new_output("error", ename="ValueError", evalue="x", traceback=[])
BREAKS: dict[str, tuple[str, Break]] = {
    "repeated id": ("check_format", lambda nb: code(nb, 2).update(id=code(nb, 1).id)),
    "no count": ("check_counts", set_count(None)),
    "count out of order": ("check_counts", set_count(7)),
    "empty cell": ("check_counts", set_source(" ", number=1)),
    "no code": (
        "check_counts",
        lambda nb: nb.update(cells=[nb.cells[0], nb.cells[-1]]),
    ),
    "widget state": ("check_state", lambda nb: nb.metadata.update(widgets={})),
    "widget view": ("check_state", add_output(v4.new_output("display_data", VIEW))),
    "timing": ("check_state", lambda nb: code(nb, 2).metadata.update(execution={})),
    "error": ("check_errors", add_output(ERROR)),
    "path in a stream": ("check_paths", add_output(stream(f"in {SOMEBODY}\n"))),
    "path in a result": ("check_paths", add_output(shown(text_plain=f"'{SOMEBODY}'"))),
    "path in the code": ("check_paths", set_source(f"open('{SOMEBODY}')")),
    "path on Windows": ("check_paths", add_output(stream("C:\\Users\\ada\n"))),
    "skip": ("check_comparable", set_tags("nbval-skip")),
    "stderr": ("check_comparable", add_output(stream("Warning\n", "stderr"))),
    "SVG": ("check_comparable", lambda nb: code(nb, 4).outputs[0].data.update(SVG)),
    "clear": ("check_comparable", set_source("clear_output()")),
    "semicolon": ("check_comparable", set_source("plot(x);")),
    "address": ("check_comparable", add_output(shown(text_plain="<A at 0x7f3a2b10>"))),
    "progress": ("check_comparable", add_output(stream(" 40%|####  | 4/10\n"))),
    "half ignored": ("check_share", set_tags(IGNORE)),
    "ignored by comment": (
        "check_share",
        set_source("# NBVAL_IGNORE_OUTPUT\nprint(x)"),
    ),
    "wide code": ("check_width", set_source("x" * (CODE_COLUMNS + 1))),
    "recap missing": ("check_recap", lambda nb: nb.cells.pop()),
    "code at the end": ("check_recap", lambda nb: nb.cells.append(nb.cells.pop(3))),
    "opens with code": ("check_opening", lambda nb: nb.cells.pop(0)),
}
SVG = {"image/svg+xml": "<svg/>"}


@pytest.mark.parametrize("name", BREAKS)
def test_each_fault_is_seen(good: NotebookNode, name: str) -> None:
    check, break_it = BREAKS[name]
    break_it(good)
    assert check in faults_by_check(good)


@pytest.mark.parametrize("phrase", ["# ", "able to", "20 minutes", "Needs", "Section"])
def test_each_part_of_the_opening_is_asked_for(good, phrase) -> None:
    first = good.cells[0]
    first.source = first.source.replace(phrase, "")
    assert len(faults_by_check(good)["check_opening"]) == 1


def test_an_ignored_cell_may_print_what_it_likes(good: NotebookNode) -> None:
    code(good, 5).outputs = [stream("40%|## | 3.1it/s\n", "stderr")]
    assert faults_by_check(good) == {}


def test_checks_do_not_change_the_notebook(good: NotebookNode) -> None:
    before = deepcopy(good)
    faults_by_check(good)
    assert good == before
