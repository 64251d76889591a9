"""What pages show of the records: `python -m cstlib.summary --write` puts it there.

Nobody types a measured number by hand: a test compares the README and
`docs/results.md` with this output. A block stands between a pair of markers,
``<!-- main-results -->`` and ``<!-- /main-results -->`` for one; what is between them is
replaced.

Two kinds of ± must not be confused. Behind a figure or an effect it is the spread, the
standard deviation over folds and seeds together. The verdict on a claim goes by the
standard error of the mean effect, which is smaller (`cstlib.verdicts`).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cstlib import claims, files, verdicts
from cstlib.errors import CstlibError
from cstlib.experiment_rows import IMAGE, PIXEL
from cstlib.experiments import find_table
from cstlib.paths import PACKAGE
from cstlib.reproduce import EPISODES, recorded
from cstlib.result_tables import (
    Cell,
    recorded_cells,
    recorded_lengths,
    recorded_runs,
    recorded_seeds,
    still_rising,
)
from cstlib.results_page import runs_text, tables_text
from cstlib.verdicts import RISING, RULE, Verdict
from cstlib.worlds import World

README = PACKAGE.parent / "README.md"
PAGES = (README, PACKAGE.parent / "docs/results.md")
# What the names of records need of the miniature, without drawing it.
MINI = World("mini", Path(), 96, "dino-mini", ())
MINI_COCO = replace(MINI, name="mini-coco", protocol="coco")
MINIS = {
    "pascal": MINI,
    "coco": MINI_COCO,
}  # by the benchmark whose protocol they follow


def main_results(have: dict[str, dict] | None = None) -> str:
    """The main settings, mean ± spread over the recorded folds and seeds.

    Of trainings that are longer than the usual one only the lines with runs are shown.

    Args:
        have: records by name; those of ``data/results`` by default.
    """
    have = recorded() if have is None else have
    longer = [n for n in recorded_lengths(have) if n > EPISODES]
    parts = [_main_table(have, EPISODES), effort(have), levelled_off(have)]
    for episodes in longer:
        if table := _main_table(have, episodes):
            parts += [f"The same after {episodes:,} training episodes:", table]
    return "\n\n".join(parts)


def _main_table(have: dict[str, dict], episodes: int) -> str:
    """In Markdown; whole for the usual length, else the trained lines with runs."""
    table = find_table("main")
    cells = recorded_cells(table, MINI, have, episodes=episodes)
    lines = []
    for row in table.rows:
        er, miou, fb = (
            cells[row.name, (1, 1), figure] for figure in ("er", "miou", "fb_iou")
        )
        if episodes != EPISODES and (row.control or not miou.runs):
            continue
        shown = [er, _paper(er), miou, _paper(miou), fb, miou.runs]
        lines.append("| " + " | ".join(map(str, [row.name, *shown])) + " |")
    if not lines:
        return ""
    head = "| CST, 1-way 1-shot | ER | paper | mIoU | paper | FB-IoU | runs |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *lines])


def effort(have: dict[str, dict]) -> str:
    """How many runs and tests are recorded, and the hours that they took."""
    runs = [record for record in have.values() if record["kind"] == "train"]
    tests = [r for r in have.values() if r["kind"] in ("evaluate", "control")]
    seconds = [record.get("duration_s") or 0 for record in (*runs, *tests)]
    hours = sum(seconds) / 3600
    return (
        f"In per cent, ± the standard deviation over folds and seeds. {len(runs)} "
        f"training runs and {len(tests)} further tests are recorded; they "
        f"took {hours:.1f} hours in all."
    )


# Settings whose validation is looked at, by their names in a sentence.
LEVELS: dict[str, dict[str, Any]] = {
    "image level": IMAGE,
    "5% of the masks": {"supervision": "mixed", "mask_fraction": 0.05},
    "pixel level": PIXEL,
}


def levelled_off(have: dict[str, dict]) -> str:
    """How many runs of the main settings had their best validation at the very end."""
    parts = []
    for name, settings in LEVELS.items():
        found = recorded_runs(settings, MINI, have)
        runs = [run for run in found if run.get("validation")]
        rising = sum(map(still_rising, runs))
        parts.append(f"{rising} of {len(runs)} ({name})")
    said = f"{', '.join(parts[:-1])} and {parts[-1]}"
    return (
        f"Trained for {EPISODES:,} episodes each, {said} runs had their best "
        "validation at the very end: those had not levelled off."
    )


def judged(have: dict[str, dict] | None = None) -> list[Verdict]:
    """Every claim of the paper on the recorded runs of the miniature."""
    have = recorded() if have is None else have
    runs: dict[str, Any] = {
        "data": MINI.data,
        "backbone": MINI.backbone,
        "folds": range(MINI.n_folds),
        "seeds": recorded_seeds(have),
        "lengths": recorded_lengths(have),
    }
    return [verdicts.judge_longest(claim, have, **runs) for claim in claims.CLAIMS]


def claims_table(have: dict[str, dict] | None = None) -> str:
    """The claims with their verdicts, and the rule below them."""
    note = (
        "Effects in points of per cent unless said otherwise, ± the standard deviation "
        "over folds and seeds."
    )
    return f"{verdicts.as_markdown(judged(have))}\n\n{note} {RULE} {RISING}"


BLOCKS: dict[str, Callable[[], str]] = {
    "main-results": main_results,
    "claims": claims_table,
    "tables": lambda: tables_text(MINIS, recorded()),
    "runs": lambda: runs_text(MINIS, recorded()),
}


def filled(text: str) -> str:
    """The text with every block whose markers it has, as the records are now.

    Raises:
        CstlibError: a block is opened and not closed, or closed and not opened.
    """
    for name, make in BLOCKS.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(start) != text.count(end) or text.count(start) > 1:
            raise CstlibError(
                f"The markers {start} and {end} must stand there once each: mend them."
            )
        if start not in text:
            continue
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise CstlibError(f"The marker {end} stands before {start}: swap them.")
        before, after = pattern.split(text, maxsplit=1)
        text = f"{before}{start}\n{make()}\n{end}{after}"
    return text


def _with_markers(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if not any(f"<!-- {name} -->" in text for name in BLOCKS):
        raise CstlibError(
            f"{file.name} has no markers: put <!-- main-results --> and "
            "<!-- /main-results --> where the table belongs."
        )
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the blocks, or with ``--write`` put them between their markers."""
    parser = argparse.ArgumentParser(prog="python -m cstlib.summary")
    parser.add_argument(
        "--write", action="store_true", help="put the blocks into the pages"
    )
    parser.add_argument(
        "--file", type=Path, help="this page alone, not README and docs/results.md"
    )
    args = parser.parse_args(arguments)
    if not args.write:
        print("\n\n".join(f"{name}:\n{make()}" for name, make in BLOCKS.items()))
        return 0
    for page in [args.file] if args.file else PAGES:
        try:
            files.write_text(page, filled(_with_markers(page)))
        except OSError as error:
            print(f"cstlib: Cannot read {page.name}: check --file.", file=sys.stderr)
            raise SystemExit(2) from error
        except CstlibError as error:
            print(f"cstlib: {error}", file=sys.stderr)
            return 2
    return 0


def _paper(cell: Cell) -> str:
    return "-" if cell.paper is None else f"{cell.paper}"


if __name__ == "__main__":
    sys.exit(main())
