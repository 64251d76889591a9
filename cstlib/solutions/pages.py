"""The notebooks of solutions, made from the lessons and the written solutions.

The task's text and the stub come from the lesson, the code and the reasons from its
module here, the mistakes from the exercise's check: nothing is written twice.
``python -m cstlib notebooks`` builds, runs and stores them.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode, v4

from cstlib.errors import CstlibError
from cstlib.exercises import find
from cstlib.solutions import Solution, solutions


@dataclass(frozen=True)
class Stub:
    """An exercise as a lesson poses it.

    Attributes:
        exercise: the name that its check is called with.
        task: the Markdown above it.
        function: name, arguments and docstring of the function to be filled in.
    """

    exercise: str
    task: str
    function: tuple[str, str, str | None]


def stubs(lesson: NotebookNode) -> Iterator[Stub]:
    """The exercises of a lesson: code cells that define a function and `check` it."""
    task = ""
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            task = cell.source
        elif cell.cell_type == "code" and "check(" in cell.source:
            body = ast.parse(cell.source).body
            name = _checked(body[-1])
            written = [node for node in body if isinstance(node, ast.FunctionDef)]
            if name and written:
                yield Stub(name, _exercise_text(task), _signature(written[-1]))


def signature(function: Callable[..., Any]) -> tuple[str, str, str | None]:
    """Name, arguments and docstring, to compare with `Stub.function`."""
    (written,) = ast.parse(inspect.getsource(function)).body
    assert isinstance(written, ast.FunctionDef)
    return _signature(written)


def build(lesson: Path) -> NotebookNode:
    """The notebook of solutions that goes with the lesson at that path, not yet run.

    Raises:
        CstlibError: a stub of the lesson has no solution, or the two differ in name,
            arguments or docstring.
    """
    notebook = nbformat.read(lesson, as_version=4)
    posed = list(stubs(notebook))
    solved = solutions().get(lesson.stem, ())
    if [s.exercise for s in posed] != [s.exercise for s in solved]:
        raise CstlibError(
            f"{lesson.name} has the exercises {[s.exercise for s in posed]}, its "
            f"module in cstlib/solutions solves {[s.exercise for s in solved]}: give "
            "both the same ones, in the same order."
        )
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    cells = [
        v4.new_markdown_cell(_OPENING.format(title=title, lesson=lesson.name)),
        v4.new_code_cell(_imports(solved)),
    ]
    for stub, solution in zip(posed, solved):
        if stub.function != signature(solution.function):
            raise CstlibError(
                f"The stub of {stub.exercise} in {lesson.name} and its solution "
                "differ in name, arguments or docstring: make them the same."
            )
        source = inspect.getsource(solution.function).rstrip()
        call = f'check("{solution.exercise}", {solution.function.__name__})'
        cells += [
            v4.new_markdown_cell(stub.task),
            v4.new_code_cell(f"{source}\n\n\n{call}"),
            v4.new_markdown_cell(f"{solution.why}\n\n{_mistakes(solution.exercise)}"),
        ]
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place:03d}"
    return v4.new_notebook(cells=cells)


_OPENING = """\
# Solutions: {title}

The exercises of [{lesson}](../{lesson}), solved. Try them there
first: the check names your mistake, and a solution that one has read is soon forgotten.
Yours may look different; what counts is that the check says "Right"."""


def _mistakes(exercise: str) -> str:
    hints = "\n".join(f"- {hint}" for hint in find(exercise).mistakes)
    return (
        "<details><summary>What the check says to likely mistakes</summary>\n\n"
        f"{hints}\n\n</details>"
    )


def _imports(solved: tuple[Solution, ...]) -> str:
    """The imports that these functions use, as their module writes them."""
    module = sys.modules[solved[0].function.__module__]
    used = {
        node.id
        for solution in solved
        for node in ast.walk(ast.parse(inspect.getsource(solution.function)))
        if isinstance(node, ast.Name)
    }
    plain = [
        ast.unparse(node)
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and used & {name.asname or name.name for name in node.names}
    ]
    first = [line for line in plain if _is_standard(line)]
    groups = first, [line for line in plain if line not in first]
    ours = ["from cstlib.exercises import check"]
    return "\n\n".join("\n".join(group) for group in (*groups, ours) if group)


def _is_standard(line: str) -> bool:
    return line.split()[1].partition(".")[0] in sys.stdlib_module_names


def _exercise_text(markdown: str) -> str:
    """The part of a Markdown cell that poses the exercise: from its **number** on."""
    lines = markdown.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("**")]
    numbered = [i for i in starts if lines[i].lstrip("*")[:1].isdigit()]
    return "\n".join(lines[numbered[-1] if numbered else 0 :])


def _checked(node: ast.stmt) -> str:
    """The name of the exercise in ``check("name", function)``, else an empty text."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        if isinstance(call.func, ast.Name) and call.func.id == "check":
            return ast.literal_eval(call.args[0])
    return ""


def _signature(written: ast.FunctionDef) -> tuple[str, str, str | None]:
    return written.name, ast.unparse(written.args), ast.get_docstring(written)


__all__ = ["Stub", "build", "signature", "stubs"]
