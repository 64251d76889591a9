"""The teacher's plans add up, and name sections and exercises that exist."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from cstlib.solutions import solutions

TOP = Path(__file__).resolve().parent.parent
PAGE = (TOP / "docs" / "teaching.md").read_text(encoding="utf-8")
HEAD = "| start | minutes | notebook | sections | how | exercise |"
LESSONS = {path.stem[:2]: path for path in (TOP / "notebooks").glob("*.ipynb")}


def plans() -> list[list[list[str]]]:
    """The rows of each plan: start, minutes, notebook, sections, how, exercises."""
    found = []
    for part in PAGE.split(HEAD)[1:]:
        lines = part.strip().splitlines()[1:]
        rows = [line for line in lines[: lines.index("")] if line.startswith("|")]
        found.append([[c.strip() for c in row[1:-1].split("|")] for row in rows])
    return found


def headings(number: str) -> set[str]:
    cells = nbformat.read(LESSONS[number], as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


HALF, FIRST, SECOND = plans()


@pytest.mark.parametrize(
    ("plan", "minutes"), [(HALF, 240), (FIRST, 360), (SECOND, 360)]
)
def test_times_follow_one_another(plan, minutes):
    now = 0
    for start, length, *_ in plan:
        assert start == f"{now // 60}:{now % 60:02d}"
        now += int(length)
    assert now == minutes


def test_the_plans_name_sections_that_the_lessons_have():
    named = 0
    for number, sections in [row[2:4] for plan in plans() for row in plan]:
        for section in re.findall(r'"(.+?)"', sections):
            assert section in headings(number), f"{number} has no section {section}"
            named += 1
    assert named > 30


def test_exercises_belong_to_their_notebook():
    for number, exercises in [(row[2], row[5]) for plan in plans() for row in plan]:
        for name in re.findall(r"`(.+?)`", exercises):
            known = [s.exercise for s in solutions()[LESSONS[number].stem]]
            assert name in known


def test_two_days_leave_no_notebook_and_no_exercise_out():
    rows = [*FIRST, *SECOND]
    assert {row[2] for row in rows} - {""} == {stem[:2] for stem in solutions()}
    given = [name for row in rows for name in re.findall(r"`(.+?)`", row[5])]
    all_of_them = [s.exercise for several in solutions().values() for s in several]
    assert sorted(given) == sorted(all_of_them)


def test_half_a_day_has_a_break_and_an_exercise_in_each_part():
    assert any("break" in row[3] for row in HALF)
    assert sum(bool(row[5]) for row in HALF) >= 5


def test_sections_in_the_answers_exist():
    every = set().union(*map(headings, LESSONS))
    answers = PAGE.split("## Questions that come")[1].split("## Where people")[0]
    quoted = re.findall(r'\("(.+?)"\)', answers)
    assert quoted and set(quoted) <= every
