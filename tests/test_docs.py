"""What the pages in docs/ point at exists: functions, notebooks, tests, notes."""

from __future__ import annotations

import ast
import json
import pydoc
import re
import shlex
from pathlib import Path

import pytest
from made import is_one_sentence
from torch.distributed.run import parse_args

from cstlib import full_runs
from cstlib.backbones import BACKBONES
from cstlib.bench_paths import Setting, make_backbone
from cstlib.cli import SHARED, build_parser
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.experiments import find_table
from cstlib.feature_files import numbers
from cstlib.features import Features
from cstlib.full_runs import (
    ImageSize,
    Speed,
    cache_report,
    report,
    speed_report,
    speeds,
)
from cstlib.paper import paper_notes, paper_tables
from cstlib.paths import WEIGHTS
from cstlib.pooled_store import key_shapes, pooled_shapes

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


FULL_RUNS = (TOP / "docs" / "full_runs.md").read_text(encoding="utf-8")


def commands_of(page: str) -> list[list[str]]:
    """The words of each command in a page's ``sh`` blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("words", commands_of(FULL_RUNS), ids=" ".join)
def test_every_command_of_the_page_on_full_runs_parses(words):
    if words[0] == "torchrun":
        launched = parse_args(words[1:])
        assert launched.module and launched.training_script == "cstlib"
        assert launched.training_script_args[0] in SHARED
        words = ["python", "-m", "cstlib", *launched.training_script_args]
    assert words[:2] == ["python", "-m"]
    if words[2] != "cstlib":
        assert callable(pydoc.locate(words[2]).main)
        return
    args = build_parser(words[3]).parse_args(words[3:])
    if args.command == "train":
        given = {k: v for k, v in vars(args).items() if k in TrainConfig.field_names()}
        assert TrainConfig.from_dict(given).validation_episodes == 1000
    if args.command == "reproduce" and not args.list:
        table = find_table(args.table)
        assert table.rows and table.data == args.data


def test_hours_and_sizes_on_the_page_are_computed_from_the_record():
    found = json.loads((TOP / "docs" / "bench_two_cores.json").read_text())
    for mark, text in (
        ("hours", report(found)),
        ("cache", cache_report()),
        ("speed", speed_report(found)),
    ):
        assert f"<!-- {mark} -->\n\n{text}\n\n<!-- end -->" in FULL_RUNS


def test_hours_are_episodes_times_seconds(tmp_path, capsys):
    speed = Speed(train=0.5, test=0.25)
    assert speed.hours(7200, 0) == 1
    assert speed.hours(0, 36) == pytest.approx(36 * 1000 * 0.25 / 3600)
    rows = [
        {"task": task, "path": path, "precision": "fp32", "per_s": per_s}
        for task, path, per_s in (
            ("train", "ours", 1),
            ("train", "cached", 2),
            ("evaluate", "ours", 2),
            ("evaluate", "cached", 4),
        )
    ]
    found = speeds({"rows": rows}, "fp32")
    assert [speed.train for speed in found.values()] == [1, 0.75, 0.5]
    with pytest.raises(CstlibError, match="bench"):
        speeds({"rows": rows[:3]}, "fp32")
    for wrong in ("[]", "nonsense"):
        (tmp_path / "wrong.json").write_text(wrong)
        assert full_runs.main([str(tmp_path / "wrong.json")]) == 2
        said = capsys.readouterr().err.removeprefix("cstlib: ").strip()
        assert is_one_sentence(said) and "bench --json" in said


def test_an_images_size_is_that_of_its_rows():
    setting = Setting(image_size=160, width=24, depth=2, heads=3)
    features = Features(make_backbone(setting), lambda name: None, "cpu")
    size = ImageSize(layers=2, width=24, grid=20)
    assert size.pooled == 2 * numbers(pooled_shapes(features))
    assert size.keys == 2 * numbers(key_shapes(features))
    assert size.all_tokens == 2 * numbers(features.row_shapes)


def probe_of(name: str) -> dict:
    record = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    return record["probe"][-1]


@pytest.mark.parametrize("column, name", [(1, "dino-mini"), (2, "supervised-mini")])
def test_the_weights_probe_on_the_page_is_that_of_their_records(column, name):
    page = (TOP / "data" / "README.md").read_text(encoding="utf-8")
    found = probe_of(name)
    for title, key in (
        ("pseudo-mask, own class token, IoU", "self_iou"),
        ("pseudo-mask, support's token, IoU", "cross_iou"),
        ("nearest neighbour's class, accuracy", "nearest_neighbour"),
        ("matching tells presence, AUC", "matching_auc"),
        ("threshold chosen on training images", "threshold"),
    ):
        (line,) = (x for x in page.splitlines() if x.startswith(f"| {title} |"))
        said = float(line.split("|")[column + 1])
        assert said == pytest.approx(found[key], abs=0.00051), title


def test_prose_on_the_weights_speaks_of_the_same_figures():
    page = " ".join((TOP / "data" / "README.md").read_text(encoding="utf-8").split())
    found = probe_of("dino-mini")
    own, everything = found["self_iou"], found["self_iou_all_foreground"]
    assert f"own class token {own:.2f} against {everything:.2f}" in page
    cross, everything = found["cross_iou"], found["cross_iou_all_foreground"]
    assert f"in another image with {cross:.2f} against {everything:.2f}" in page
    assert f"a cut of its own, {found['cross_threshold']:.2f}," in page
