"""Running and storing notebooks: repeatable, as nbval sees them, all or nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

import cstlib
from cstlib import notebooks
from cstlib.cli import main
from cstlib.errors import CstlibError

DRAW = """\
from ipywidgets import interact
from matplotlib import pyplot
def draw(x=1):
    figure, axes = pyplot.subplots(figsize=(2, 1))
    axes.plot([0, x])
    pyplot.close(figure)
    return figure"""
SOURCES = (
    "import os\nprint(os.environ['CSTLIB_BUDGET'], os.environ['CSTLIB_WORLD'])",
    DRAW,
    "_ = interact(draw, x=(1, 5))",
    "for _ in range(3):\n    print(_)",
)


def write(path: Path, *sources: str) -> Path:
    cells = [v4.new_code_cell(source) for source in sources]
    cells[0].metadata = {"tags": ["kept"], "execution": {}, "collapsed": False}
    path.write_text(nbformat.writes(v4.new_notebook(cells=cells)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write(tmp_path_factory.mktemp("notebooks") / "00_small.ipynb", *SOURCES)
    notebooks.regenerate(path)
    return path


def test_it_runs_at_the_walkthroughs_budget_in_order(regenerated: Path) -> None:
    notebook = nbformat.read(regenerated, as_version=4)
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3, 4]
    assert notebook.cells[0].outputs[0].text == "walkthrough mini\n"
    assert notebook.cells[3].outputs[0].text == "0\n1\n2\n"


def test_a_widget_leaves_its_figure_and_no_state(regenerated: Path) -> None:
    notebook = nbformat.read(regenerated, as_version=4)
    figure, widget = notebook.cells[2].outputs
    assert set(figure.data) == {"image/png", "text/plain"}
    assert set(widget.data) == {"text/plain"}
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    assert [cell.metadata for cell in notebook.cells] == [
        {"tags": ["kept"]},
        {},
        {},
        {},
    ]


def test_a_second_run_changes_nothing(regenerated: Path) -> None:
    before = regenerated.read_bytes()
    notebooks.regenerate(regenerated)
    assert regenerated.read_bytes() == before


def test_nbval_agrees_with_what_is_stored(regenerated: Path) -> None:
    # The first cell names the budget, which is another one here.
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", regenerated.name, "-q"],
        check=False,
        cwd=regenerated.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert f"FAILED {regenerated.name}::Cell 0" in done.stdout


def test_a_trial_runs_as_the_environment_says_and_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSTLIB_WORLD", "pascal")
    monkeypatch.setenv("CSTLIB_BUDGET", "test")
    check = "import os\nassert os.environ['CSTLIB_WORLD'] == 'pascal'"
    here = "import cstlib\nassert cstlib.__file__ == " + repr(cstlib.__file__)
    path = write(tmp_path / "00_small.ipynb", check, here)
    before = path.read_bytes()
    assert main(["notebooks", "--try", str(path)]) == 0
    assert path.read_bytes() == before


def test_a_failing_cell_leaves_the_stored_notebook_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.ipynb", "print(1)", "unknown_name")
    before = path.read_bytes()
    with pytest.raises(CstlibError, match="unknown_name"):
        notebooks.regenerate(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.ipynb"
    path.write_text("{half", encoding="utf-8")
    with pytest.raises(CstlibError, match="cannot be read as a notebook"):
        notebooks.regenerate(path)
    assert path.read_text(encoding="utf-8") == "{half"


def test_cells_without_an_id_get_one_from_their_place() -> None:
    notebook = v4.new_notebook(cells=[v4.new_code_cell("1"), v4.new_markdown_cell("2")])
    kept = notebook.cells[0].id
    del notebook.cells[1]["id"]
    notebooks.clean(notebook)
    assert [cell.id for cell in notebook.cells] == [kept, "cell-001"]


def test_notebooks_are_found_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    for name in ("01_b", "00_a", "solutions/01_b", ".ipynb_checkpoints/00_a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / f"{name}.ipynb", "1")
    stems = [path.stem for path in notebooks.find([], tmp_path)]
    assert stems == ["00_a", "01_b", "01_b"]
    assert notebooks.find(["00"], tmp_path) == [tmp_path / "00_a.ipynb"]
    given = str(tmp_path / "01_b.ipynb")
    assert notebooks.find([given, given], tmp_path) == [Path(given)]
    with pytest.raises(CstlibError, match="choose from 00_a, 01_b"):
        notebooks.find(["07"], tmp_path)


def test_an_empty_folder_says_where_notebooks_come_from(tmp_path: Path) -> None:
    with pytest.raises(CstlibError, match="work in a clone of the course"):
        notebooks.find([], tmp_path)


def test_pytest_refuses_notebooks_that_import_another_copy(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(notebooks.FOLDER / "conftest.py", folder)
    write(folder / "00_small.ipynb", "print(1)")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "notebooks/"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "would test another copy of cstlib" in done.stderr
