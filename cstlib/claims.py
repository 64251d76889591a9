"""The paper's claims, each as a number, judged on the recorded runs by one rule.

An effect is a sum of figures in points of per cent: of CST with pseudo-masks less that
of CST without, say. Here it is taken run by run, on the same fold with the same seed,
so that what a fold makes easy or hard cancels. The rule was fixed before the runs: with
the mean effect and twice its standard error, a claim *holds* if the whole interval is
beyond the claim's bound, *does not hold* if it is wholly on the other side, and is *too
close to call* otherwise, or with fewer than three pairs of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev
from typing import Any

from cstlib.experiments import (
    IMAGE,
    NO_MASKS,
    PIXEL,
    Measure,
    Row,
    configuration,
)
from cstlib.paper import paper_rows
from cstlib.reproduce import FIGURES, record_name

LEAST_RUNS = 3
HOLDS, FAILS, OPEN = "holds", "does not hold", "too close to call"


@dataclass(frozen=True)
class Term:
    """A figure and its weight: of these settings, tested with N ways and K shots.

    ``paper`` finds the figure among `cstlib.paper.paper_rows`; empty where the paper
    gives none.
    """

    weight: float
    settings: dict[str, Any]
    paper: dict[str, Any]
    measure: Measure = (1, 1)


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper as an effect that must be above, or below, a bound.

    Attributes:
        text: the claim. where: its table or section.
        figure: "er" or "miou". terms: what the effect is the weighted sum of.
        bound: in points. below: the effect must stay under the bound, not above it.
    """

    text: str
    where: str
    figure: str
    terms: tuple[Term, ...]
    bound: float = 0.0
    below: bool = False


def _more(better: Term, worse: Term) -> tuple[Term, Term]:
    return better, Term(-worse.weight, worse.settings, worse.paper, worse.measure)


def _cst(settings: dict[str, Any], measure: Measure = (1, 1), **paper: Any) -> Term:
    return Term(1.0, settings, {"method": "CST", **paper}, measure)


def _mixed(share: float, row: str) -> Term:
    more = {"mask_source": "dino"} if row == "a" else {}
    settings = {"supervision": "mixed", "mask_fraction": share, **more}
    return _cst(settings, table="3", row=row, mask_fraction=share)


def _starred(name: str) -> Term:
    settings = {**PIXEL, "learner": name.lower()}
    return Term(1.0, settings, {"table": "a.5", "method": f"{name}*", **PIXEL})


MASKED = _cst(IMAGE, table="1", pseudo_masks=True)
UNMASKED = _cst(NO_MASKS, table="1", pseudo_masks=False)
FULL = _cst(PIXEL, table="4")
FIVE = (1, 5)
MASKED_FIVE = _cst(IMAGE, FIVE, table="a.10", pseudo_masks=True)
UNMASKED_FIVE = _cst(NO_MASKS, FIVE, table="a.10", pseudo_masks=False)
COUPLED = {"learner": "cst-coupled"}

CLAIMS: tuple[Claim, ...] = (
    Claim("pseudo-masks beat no masks", "Table 1", "miou", _more(MASKED, UNMASKED)),
    Claim("pseudo-masks also raise ER", "Table 1", "er", _more(MASKED, UNMASKED)),
    Claim(
        "5% of the masks beat none", "Table 3", "miou", _more(_mixed(0.05, "b"), MASKED)
    ),
    Claim(
        "all masks beat 5% of them", "Table 3", "miou", _more(FULL, _mixed(0.05, "b"))
    ),
    Claim(
        "the enhancer helps (2.5%)",
        "Table 3",
        "miou",
        _more(_mixed(0.025, "b"), _mixed(0.025, "a")),
    ),
    Claim(
        "the enhancer helps more with fewer masks (2.5% against 10%)",
        "Table 3",
        "miou",
        _more(_mixed(0.025, "b"), _mixed(0.025, "a"))
        + _more(_mixed(0.1, "a"), _mixed(0.1, "b")),
    ),
    *(
        Claim(
            f"decoupled heads beat coupled ones ({level['supervision']} level)",
            "Table 7",
            "miou",
            _more(
                _cst(level, table="7", heads="decoupled", **level),
                _cst({**level, **COUPLED}, table="7", heads="coupled", **level),
            ),
        )
        for level in (IMAGE, PIXEL)
    ),
    Claim(
        "many heads beat one (pixel level)",
        "Table a.7",
        "miou",
        _more(
            _cst(PIXEL, table="a.7", correlation="multi-head", **PIXEL),
            _cst(
                {**PIXEL, "heads": 1}, table="a.7", correlation="single-head", **PIXEL
            ),
        ),
    ),
    Claim("five shots beat one", "Table a.10", "miou", _more(MASKED_FIVE, MASKED)),
    Claim(
        "shots help more with pseudo-masks than without",
        "Table a.10",
        "miou",
        _more(MASKED_FIVE, MASKED) + _more(UNMASKED, UNMASKED_FIVE),
    ),
    Claim(
        "five ways cost less than 10 points of mIoU against one",
        "Table a.9",
        "miou",
        _more(
            _cst(PIXEL, (1, 1), table="a.9", way=1),
            _cst(PIXEL, (5, 1), table="a.9", way=5),
        ),
        bound=10.0,
        below=True,
    ),
    *(
        Claim(
            f"lambda {other} in place of 0.1 costs less than 3 points",
            "Table a.8",
            "miou",
            _more(
                _cst(IMAGE, table="a.8", lam=0.1),
                _cst({**IMAGE, "lam": other}, table="a.8", lam=other),
            ),
            bound=3.0,
            below=True,
        )
        for other in (0.05, 0.5)
    ),
    Claim(
        "self-supervised pseudo-masks beat class-supervised ones",
        "Table 6",
        "miou",
        _more(
            _cst(IMAGE, table="6", mask_source="self-supervised ViT"),
            _cst(
                {**IMAGE, "mask_source": "supervised"},
                table="6",
                mask_source="class-supervised ViT",
            ),
        ),
    ),
    *(
        Claim(
            f"CST beats {name}* with fewer parameters",
            "Table a.5",
            "miou",
            _more(_cst(PIXEL, table="a.5", **PIXEL), _starred(name)),
        )
        for name in ("ASNet", "HSNet")
    ),
)


@dataclass(frozen=True)
class Verdict:
    """A claim, the paper's effect, ours with its standard error, and what follows.

    ``effect`` and ``error`` are None without runs, ``error`` also with a single one.
    """

    claim: Claim
    paper: float | None
    effect: float | None
    error: float | None
    runs: int
    says: str


def judge(
    claim: Claim,
    have: dict[str, dict],
    data: str,
    backbone: str,
    folds: Sequence[int],
    seeds: Sequence[int],
    **common: Any,
) -> Verdict:
    """A claim on the recorded runs.

    Args:
        have: records by name. data, backbone, folds, seeds, common: which runs count.
    """
    effects = []
    for seed in seeds:
        for fold in folds:
            figures = [
                _recorded(
                    term,
                    claim.figure,
                    have,
                    data,
                    fold,
                    seed,
                    backbone=backbone,
                    **common,
                )
                for term in claim.terms
            ]
            if None not in figures:
                effects.append(sum(t.weight * f for t, f in zip(claim.terms, figures)))
    value = mean(effects) if effects else None
    error = stdev(effects) / sqrt(len(effects)) if len(effects) > 1 else None
    return Verdict(
        claim,
        published(claim),
        value,
        error,
        len(effects),
        verdict(value, error, len(effects), claim.bound, claim.below),
    )


def verdict(
    value: float | None, error: float | None, runs: int, bound: float, below: bool
) -> str:
    """The rule of this module."""
    if runs < LEAST_RUNS or value is None or error is None:
        return f"too few runs ({runs})"
    beyond = bound - value if below else value - bound
    if beyond > 2 * error:
        return HOLDS
    return FAILS if beyond < -2 * error else OPEN


def published(claim: Claim) -> float | None:
    """The paper's own effect; None where it lacks one of the figures."""
    total = 0.0
    for term in claim.terms:
        way, shot = term.measure
        rows = paper_rows(**{"way": way, "shot": shot, **term.paper})
        if len(rows) != 1 or claim.figure not in rows[0]:
            return None
        total += term.weight * rows[0][claim.figure]
    return round(total, 1)


def _recorded(term: Term, figure: str, have, data, fold, seed, **common):
    """A term's figure in per cent on one fold with one seed, None if not recorded."""
    config = configuration(Row("", term.settings), data, fold, seed, **common)
    record = have.get(record_name(config, term.measure))
    if record is None:
        return None
    return 100 * record["metrics"]["background"][FIGURES[figure]]


def as_text(verdicts: Sequence[Verdict]) -> str:
    """A claim a line: the paper's effect, ours, and the verdict."""
    width = max(len(v.claim.text) for v in verdicts)
    lines = [f"{'claim':<{width}}  {'paper':>6}  {'here':>12}  runs  verdict"]
    for v in verdicts:
        paper = "-" if v.paper is None else f"{v.paper:+.1f}"
        here = "-" if v.effect is None else f"{v.effect:+.1f}"
        here += "" if v.error is None else f" ± {v.error:.1f}"
        lines.append(
            f"{v.claim.text:<{width}}  {paper:>6}  {here:>12}  {v.runs:>4}  {v.says}"
        )
    return "\n".join(lines)
