"""What the pages in docs/ point at exists: functions, notebooks, tests, notes."""

from __future__ import annotations

import ast
import json
import pydoc
import re
from pathlib import Path

import pytest

from cstlib.backbones import BACKBONES
from cstlib.paper import paper_notes, paper_tables

TOP = Path(__file__).resolve().parent.parent
GLOSSARY = (TOP / "docs" / "glossary.md").read_text(encoding="utf-8")
DIFFERENCES = (TOP / "docs" / "paper_and_release.md").read_text(encoding="utf-8")
PAGES = {"glossary": GLOSSARY, "paper_and_release": DIFFERENCES}
NUMBER = r"\(?\d+\)?"
MENTION = re.compile(
    rf"\\tag\{{(\d+)\}}|equations?\s+({NUMBER}(?:(?:,| and| to|,? or|-)\s*{NUMBER})*)",
    re.IGNORECASE,
)


def table_rows(page: str, head: str) -> list[list[str]]:
    """The cells of the Markdown table whose head line starts with ``head``."""
    lines = page[page.index(f"| {head}") :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


EQUATIONS = table_rows(GLOSSARY, "equation |")


def equations_of(text: str) -> set[int]:
    """Numbers of the equations that a text mentions: "equations (5) to (7)" is three."""
    found = set()
    for tag, listed in MENTION.findall(text):
        numbers = [int(n) for n in re.findall(r"\d+", tag or listed)]
        if re.search(r" to |-", listed):
            numbers = range(numbers[0], numbers[-1] + 1)
        found |= set(numbers)
    return found


def named_tests(path: Path) -> set[str]:
    """Names of the tests in a file, those in classes as Class::test."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names |= {prefix + n.name for n in inside if isinstance(n, ast.FunctionDef)}
    return names


def test_mentions_of_equations_are_understood():
    assert equations_of("equations (5) to (7) and a table (9)") == {5, 6, 7}
    assert equations_of(r"Equations 10 and 11, equation (2); \tag{4}") == {2, 4, 10, 11}
    assert equations_of("Equations (3)-(4), equations (3), (4)") == {3, 4}


def test_all_equations_of_the_paper_have_a_home():
    assert [row[0] for row in EQUATIONS] == [f"({n})" for n in range(1, 12)]


@pytest.mark.parametrize("row", EQUATIONS, ids=[row[0] for row in EQUATIONS])
def test_an_equation_leads_to_its_function_notebook_and_test(row):
    number = int(row[0].strip("()"))
    function, notebook, test = (cell.strip("`") for cell in row[2:])

    found = pydoc.locate(function)
    assert callable(found), f"{function} cannot be imported"
    assert number in equations_of(found.__doc__ or ""), f"{function} does not name it"

    path = TOP / "notebooks" / f"{notebook}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = "\n".join("".join(cell["source"]) for cell in cells)
    assert number in equations_of(sources), f"{notebook} does not mention it"

    file, name = test.split("::", 1)
    assert name in named_tests(TOP / "tests" / file), f"there is no test {test}"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page):
    text = PAGES[page]
    names = re.findall(r"`(cstlib\.[\w.]+)`", text)
    assert names
    for name in names:
        assert pydoc.locate(name) is not None, f"{name} cannot be imported"
    for number in re.findall(r"\bnotebook (\d\d)", text):
        assert list((TOP / "notebooks").glob(f"{number}_*.ipynb")), number
    for backbone in re.findall(r"`(dino-[\w-]+)`", text):
        assert backbone in BACKBONES


def test_the_glossary_explains_each_word_once():
    words = re.findall(r"^\| .*?(?= \| )", GLOSSARY, re.MULTILINE)
    words = [w.lower() for cell in words for w in re.findall(r"\*\*(.+?)\*\*", cell)]
    assert len(words) == len(set(words))
    needed = "episode way shot support query fold presence void pseudo-mask miou fb-iou"
    assert {*needed.split(), "exact ratio", "correlation token"} <= set(words)


def test_the_page_holds_every_note_on_the_paper():
    flat = " ".join(DIFFERENCES.replace("\\*", "*").split())
    notes = {note for t in paper_tables() for note in paper_notes(t["table"])}
    assert len(notes) >= 10
    for note in notes:
        assert note in flat
    missing = [t["table"] for t in paper_tables() if "missing" in t]
    assert f"Tables {' and '.join(missing)} are not in the course's data" in flat
