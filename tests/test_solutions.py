"""Solutions are right, and stay the solutions of the stubs that the lessons show."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from notebook_contract import CODE_COLUMNS

from cstlib import exercises, notebooks
from cstlib.errors import CstlibError
from cstlib.solutions import Solution, pages, solutions

LESSONS = sorted(notebooks.FOLDER.glob("*.ipynb"))
SOLVED = [s for several in solutions().values() for s in several]


def stored(lesson: Path) -> nbformat.NotebookNode:
    return nbformat.read(lesson.parent / "solutions" / lesson.name, as_version=4)


@pytest.mark.parametrize("solution", SOLVED, ids=lambda s: s.exercise)
def test_the_check_accepts_the_solution(solution: Solution) -> None:
    said = exercises.verdict(solution.exercise, solution.function)
    assert said.startswith(exercises.RIGHT), said


@pytest.mark.parametrize("solution", SOLVED, ids=lambda s: s.exercise)
def test_a_solution_is_written_out_and_explained(solution: Solution) -> None:
    source = inspect.getsource(solution.function)
    # Not a call of what it is compared with.
    assert "cstlib" not in source and "reference" not in source
    assert max(map(len, source.splitlines())) <= CODE_COLUMNS
    assert solution.why.count(". ") + solution.why.count(".\n") >= 1
    assert solution.why.endswith(".")


def test_every_exercise_is_solved_once() -> None:
    names = [s.exercise for s in SOLVED]
    assert len(names) == len(set(names))
    posed = [
        stub.exercise
        for lesson in LESSONS
        for stub in pages.stubs(nbformat.read(lesson, as_version=4))
    ]
    assert sorted(names) == sorted(posed) == sorted(exercises.exercises())


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_stored_solutions_are_those_of_the_lesson(lesson: Path) -> None:
    """Text, stubs and code; if not: python -m cstlib notebooks <the lesson's name>."""
    wanted = [(c.cell_type, c.source) for c in pages.build(lesson).cells]
    assert [(c.cell_type, c.source) for c in stored(lesson).cells] == wanted


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_stored_solutions_were_found_right(lesson: Path) -> None:
    said = [
        output.text
        for cell in stored(lesson).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert len(said) == len(solutions()[lesson.stem])
    assert all(text.startswith("Right.") for text in said)


# ---- The generator on lessons made for it --------------------------------------------

TASK = (
    "## Exercises\n\n**1. Bits** (easy, 3 minutes). Give the bits.\nAny pixel counts."
)
STUB = (
    'def presence_bits(mask, support_classes):\n    ...\n\ncheck("{}", presence_bits)'
)


def lesson_of(folder: Path, *cells: tuple[str, str]) -> Path:
    """A lesson called like notebook 00 with these (task, stub) pairs."""
    made = [v4.new_markdown_cell("# The task")]
    for task, stub in cells:
        made += [v4.new_markdown_cell(task), v4.new_code_cell(stub)]
    path = folder / "00_the_task.ipynb"
    path.write_text(nbformat.writes(v4.new_notebook(cells=made)), encoding="utf-8")
    return path


def only(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Leave the first solutions of notebook 00 and no others."""
    first = solutions()["00_the_task"][:count]
    monkeypatch.setattr(pages, "solutions", lambda: {"00_the_task": first})


def test_a_stub_is_read_with_its_task(tmp_path: Path) -> None:
    commented = STUB.replace("...", "...  # N bools")
    lesson = lesson_of(tmp_path, (TASK, commented.format("presence-bits")))
    (stub,) = pages.stubs(nbformat.read(lesson, as_version=4))
    assert stub.exercise == "presence-bits"
    assert (
        stub.task == "**1. Bits** (easy, 3 minutes). Give the bits.\nAny pixel counts."
    )
    assert stub.function == ("presence_bits", "mask, support_classes", None)


def test_other_cells_are_no_stubs(tmp_path: Path) -> None:
    lesson = lesson_of(
        tmp_path, (TASK, "course.check(1)"), (TASK, 'check("presence-bits", 3)')
    )
    assert not list(pages.stubs(nbformat.read(lesson, as_version=4)))


def test_a_lesson_becomes_its_solutions(tmp_path, monkeypatch) -> None:
    only(monkeypatch, 1)
    built = pages.build(lesson_of(tmp_path, (TASK, STUB.format("presence-bits"))))
    opening, imports, task, code, why = [cell.source for cell in built.cells]
    assert "[00_the_task.ipynb](../00_the_task.ipynb)" in opening
    assert imports == "from cstlib.exercises import check"
    assert task.startswith("**1. Bits**")
    assert code.endswith('\n\n\ncheck("presence-bits", presence_bits)')
    assert isinstance(ast.parse(code).body[0], ast.FunctionDef)
    for hint in exercises.find("presence-bits").mistakes:
        assert f"- {hint}\n" in why


@pytest.mark.parametrize(
    ("changed", "to"),
    [
        ("(mask, support_classes)", "(mask, classes)"),
        ("(mask, support_classes)", "(mask, support_classes=())"),
        ("presence_bits", "presence"),
        ("    ...", '    """Bits."""'),
    ],
)
def test_a_stub_that_drifts_is_refused(tmp_path, monkeypatch, changed, to) -> None:
    only(monkeypatch, 1)
    stub = STUB.format("presence-bits").replace(changed, to)
    with pytest.raises(CstlibError, match="differ in name, arguments or docstring"):
        pages.build(lesson_of(tmp_path, (TASK, stub)))


def test_exercises_without_a_solution_are_refused(tmp_path, monkeypatch) -> None:
    only(monkeypatch, 2)
    with pytest.raises(CstlibError, match="give both the same ones"):
        pages.build(lesson_of(tmp_path, (TASK, STUB.format("presence-bits"))))


def test_solutions_are_regenerated_with_their_lesson(tmp_path, monkeypatch) -> None:
    only(monkeypatch, 1)
    lesson = lesson_of(tmp_path, (TASK, STUB.format("presence-bits")))
    page = tmp_path / "solutions" / lesson.name
    assert notebooks.find(["00"], tmp_path) == [lesson, page]
    page.parent.mkdir()
    notebooks.regenerate(page)
    made = nbformat.read(page, as_version=4)
    assert made.cells[3].outputs[0].text.startswith("Right.")
    assert [c.execution_count for c in made.cells if c.cell_type == "code"] == [1, 2]


def test_imports_are_those_that_the_functions_use() -> None:
    source = pages.build(notebooks.FOLDER / "04_cst.ipynb").cells[1].source
    assert source == (
        "import math\n\nimport torch\nimport torch.nn.functional as F\n\n"
        "from cstlib.exercises import check"
    )
