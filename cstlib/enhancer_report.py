"""The record of the enhancer's choices as tables, for the terminal and the docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from cstlib.enhancer_choices import CUTS, MARGIN, VARIANTS

CUT_QUESTION = "cut of its output"


def best_cut(rows: Sequence[Mapping[str, Any]]) -> int:
    """Place in `CUTS` where the mean of new and seen, over these rows, is highest."""
    return max(range(len(CUTS)), key=lambda i: mean(_score(row, i) for row in rows))


def questions(record: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """question -> its alternatives with their figures, means over folds, fractions.

    Every alternative stands at the cut that suits it best; the cuts themselves are
    compared for the chosen enhancer.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for variant in VARIANTS:
        rows = [
            row
            for row in record["choices"]
            if (row["question"], row["name"]) == (variant.question, variant.name)
        ]
        if rows:
            at = best_cut(rows)
            found.setdefault(variant.question, []).append(_line(rows, at))
    for alternatives in found.values():
        chosen = next(line for line in alternatives if line["chosen"])
        rows = [r for r in record["choices"] if r["name"] == chosen["name"]]
        break
    else:
        return found
    cut = record["settings"]["cut"]
    found[CUT_QUESTION] = [
        {**_line(rows, at), "name": f"{value:g}", "chosen": value == cut}
        for at, value in enumerate(CUTS)
    ]
    return found


def _line(rows: Sequence[Mapping[str, Any]], at: int) -> dict[str, Any]:
    new, seen = (mean(row[key][at] for row in rows) for key in ("new", "seen"))
    return {
        "name": rows[0]["name"],
        "chosen": rows[0]["chosen"],
        "allowed": rows[0]["allowed"],
        "new": new,
        "seen": seen,
        "mean": (new + seen) / 2,
        "cut": CUTS[at],
    }


def _score(row: Mapping[str, Any], at: int) -> float:
    return (row["new"][at] + row["seen"][at]) / 2


def stands(alternatives: Iterable[Mapping[str, Any]]) -> bool:
    """Whether no allowed alternative beats the chosen one by more than `MARGIN`."""
    allowed = [line for line in alternatives if line["allowed"]]
    chosen = next(line for line in allowed if line["chosen"])
    return max(line["mean"] for line in allowed) <= chosen["mean"] + MARGIN


def plain_line(record: Mapping[str, Any]) -> dict[str, float]:
    """The plain pseudo-masks' figures in the trials, means over folds."""
    rows = [row for row in record["choices"] if row["name"] == "plain"]
    return {key: mean(row[key] for row in rows) for key in ("new", "seen")}


def choices_markdown(record: Mapping[str, Any]) -> str:
    """All questions as one Markdown table, IoU in per cent, the choice in bold.

    A line above it says which folds the means are over.
    """
    before = plain_line(record)
    folds = sorted({row["fold"] for row in record["choices"]})
    which = " and ".join(
        filter(None, [", ".join(map(str, folds[:-1])), str(folds[-1])])
    )
    lines = [
        f"Decided on {'folds' if len(folds) > 1 else 'fold'} {which}.",
        "",
        "| open | alternative | new classes | seen classes | mean | at cut | stands |",
        "|---|---|---|---|---|---|---|",
        "| | plain pseudo-mask | "
        + " | ".join(
            _percent(value)
            for value in (before["new"], before["seen"], mean(before.values()))
        )
        + " | | |",
    ]
    for question, alternatives in questions(record).items():
        verdict = "yes" if stands(alternatives) else "no"
        for number, line in enumerate(alternatives):
            name = f"**{line['name']}**" if line["chosen"] else line["name"]
            if not line["allowed"]:
                name += " (knows too much)"
            cells = [
                "" if number else question,
                name,
                *(_percent(line[key]) for key in ("new", "seen", "mean")),
                f"{line['cut']:g}",
                verdict if line["chosen"] else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def final_markdown(record: Mapping[str, Any]) -> str:
    """Held-out support masks before and after, a line a share of masks, per cent."""
    folds = record["folds"]
    head = ["masks", *(f"fold {fold}" for fold in folds), "mean"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    shares = sorted({row["share"] for row in record["final"]})
    for title, key, picked in (
        ("whole image", "whole", shares[:1]),
        ("plain pseudo-mask", "before", shares[:1]),
        *((f"enhanced, {share:.1%}", "after", [share]) for share in shares),
    ):
        values = [
            row[key]
            for fold in folds
            for row in record["final"]
            if row["fold"] == fold and row["share"] in picked
        ]
        cells = [title, *map(_percent, [*values, mean(values)])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def gains(record: Mapping[str, Any]) -> dict[float, list[float]]:
    """share -> what the enhancer adds to the held-out masks' IoU, fold by fold."""
    found: dict[float, list[float]] = {}
    for row in record["final"]:
        found.setdefault(row["share"], []).append(row["after"] - row["before"])
    return found


def finding(record: Mapping[str, Any]) -> str:
    """One sentence on held-out classes: what is gained or lost, and on how many folds."""
    parts = []
    for share, values in sorted(gains(record).items()):
        up = sum(value > 0 for value in values)
        parts.append(
            f"{100 * mean(values):+.1f} points with {share:.1%} of the masks (up on "
            f"{up} of {len(values)} folds)"
        )
    return (
        "Support masks of held-out classes, enhanced against plain: "
        + ", ".join(parts)
        + "."
    )


def with_tables(page: str, record: Mapping[str, Any]) -> str:
    """A Markdown page with the record's tables between its markers.

    Raises:
        ValueError: the page lacks a marker.
    """
    for name, text in (
        ("choices", choices_markdown(record)),
        ("final", final_markdown(record)),
        ("finding", finding(record)),
    ):
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the page has no {start} ... {end}")
        page = f"{before}{start}\n{text}\n{end}{after}"
    return page


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
