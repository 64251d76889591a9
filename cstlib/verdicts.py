"""A claim of the paper as a number, judged on the recorded runs by one rule.

An effect is a sum of figures in points of per cent: of CST with pseudo-masks less that
of CST without, say. Here it is taken run by run, on the same fold with the same seed,
so that what a fold makes easy or hard cancels. The rule was fixed before the runs: with
the mean effect and twice its standard error, a claim *holds* if the whole interval is
beyond the claim's bound, *does not hold* if it is wholly on the other side, and is *too
close to call* otherwise, or with fewer than three pairs of runs. Where runs of several
lengths are recorded, those of the longest training count that three pairs have; this
sentence alone came later, when the first longer runs showed that the usual length is too
short for some settings.

Two more figures are taken pair by pair in the same way. "parameters" counts those of
the learner, in millions. "episodes" is the head start of the faster of two trainings, by
`cstlib.head_start`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev
from textwrap import fill
from typing import Any

from cstlib.experiment_rows import Row
from cstlib.experiments import Measure, configuration
from cstlib.head_start import head_start
from cstlib.paper import paper_rows
from cstlib.reproduce import record_name
from cstlib.result_tables import FIGURES, still_rising
from cstlib.training import run_name

LEAST_RUNS = 3
WIDTH = 88  # of sentences
HOLDS, FAILS, OPEN = "holds", "does not hold", "too close to call"
UNITS = {"parameters": "M", "episodes": "episodes"}  # others: points of per cent
# The paper's name for a figure, where it has another.
PRINTED = {"parameters": "learned_params"}

RULE = (
    "An effect is taken run by run, on the same fold with the same seed. A claim holds "
    "if the mean effect is beyond the claim's bound by more than twice its standard "
    "error, does not hold if it is on the other side by as much, and is too close to "
    "call otherwise. It is judged on the longest training that at least three pairs of "
    "its runs have."
)
RISING = (
    '"Rising" counts the trainings behind an effect that had their best validation at '
    "the very end: where many had, the effect may be one of speed, and longer training "
    "may change it. It misses those that never left their first plateau (notebook 07)."
)


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
        figure: "er", "miou", "parameters", or "episodes" (of the faster and the slower
            training, in this order).
        terms: what the effect is the weighted sum of.
        bound: in the figure's unit. below: the effect must stay under it, not above.
        if_not: what may be the reason in the miniature, if it does not hold there.
    """

    text: str
    where: str
    figure: str
    terms: tuple[Term, ...]
    bound: float = 0.0
    below: bool = False
    if_not: str = ""

    @property
    def in_points(self) -> bool:
        """Whether its effect is one of per cent."""
        return self.figure not in UNITS


@dataclass(frozen=True)
class Verdict:
    """A claim, the paper's effect, ours, and what follows.

    ``spread`` is the standard deviation of the effect over folds and seeds, ``error``
    its standard error. ``effect`` is None without runs, the other two also with one.
    ``episodes`` is how long the runs trained. Of those ``trained``, each counted once,
    ``rising`` had not levelled off then.
    """

    claim: Claim
    paper: float | None
    effect: float | None
    error: float | None
    runs: int
    says: str
    spread: float | None = None
    episodes: int = 0
    rising: int = 0
    trained: int = 0


def judge_longest(
    claim: Claim, have: dict[str, dict], lengths: Sequence[int], **runs: Any
) -> Verdict:
    """A claim on the longest of these trainings that has enough runs for a verdict.

    Where none has, on the one with the most runs; of equals, on the shortest.

    Args:
        lengths: in training episodes. have, runs: as for `judge`.
    """
    found = [
        judge(claim, have, episodes=length, **runs)
        for length in sorted(lengths, reverse=True)
    ]
    enough = (one for one in found if one.runs >= LEAST_RUNS)
    return next(enough, max(reversed(found), key=lambda one: one.runs))


def judge(
    claim: Claim,
    have: dict[str, dict],
    data: str,
    backbone: str,
    folds: Sequence[int],
    seeds: Sequence[int],
    episodes: int,
    **common: Any,
) -> Verdict:
    """A claim on the recorded runs.

    Args:
        have: records by name. data, backbone, folds, seeds, episodes, common: which
            runs count.
    """
    common |= {"backbone": backbone, "episodes": episodes}
    effects: list[float] = []
    trained: dict[str, bool] = {}  # each training, and whether it was still rising
    for seed in seeds:
        for fold in folds:
            configs = [
                configuration(Row("", term.settings), data, fold, seed, **common)
                for term in claim.terms
            ]
            names = [
                record_name(config, term.measure)
                for config, term in zip(configs, claim.terms)
            ]
            there = [have[name] for name in names if name in have]
            effect = _effect(claim, there) if len(there) == len(names) else None
            if effect is None:
                continue
            effects.append(effect)
            for run in map(run_name, configs):
                trained[run] = still_rising(have.get(run, {}))
    value = mean(effects) if effects else None
    spread = stdev(effects) if len(effects) > 1 else None
    error = None if spread is None else spread / sqrt(len(effects))
    return Verdict(
        claim,
        published(claim),
        value,
        error,
        len(effects),
        verdict(value, error, len(effects), claim.bound, claim.below),
        spread,
        episodes,
        sum(trained.values()),
        len(trained),
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
    key = PRINTED.get(claim.figure, claim.figure)
    for term in claim.terms:
        way, shot = term.measure
        rows = paper_rows(**{"way": way, "shot": shot, **term.paper})
        if len(rows) != 1 or key not in rows[0]:
            return None
        total += term.weight * rows[0][key]
    return round(total, 1)


def _effect(claim: Claim, found: Sequence[Mapping[str, Any]]) -> float | None:
    """The effect in one set of records, one for each term."""
    if claim.figure == "episodes":
        return head_start(*(record.get("validation", ()) for record in found))
    if claim.figure == "parameters":
        figures = [record["parameters"] / 1e6 for record in found]
    else:
        key = FIGURES[claim.figure]
        figures = [100 * record["metrics"]["background"][key] for record in found]
    return sum(t.weight * f for t, f in zip(claim.terms, figures, strict=True))


def as_text(verdicts: Sequence[Verdict]) -> str:
    """A claim a line: the paper's effect, ours, and the verdict.

    What stands after ± is the standard deviation over folds and seeds; "trained" is
    for how many episodes, and "rising" how many of the trainings had not levelled off.
    """
    width = max(len(v.claim.text) for v in verdicts)
    heads = f"{'paper':>6}  {'here':>14}  runs  trained  rising  verdict"
    lines = [f"{'claim':<{width}}  {heads}"]
    for v in verdicts:
        paper, here = effects_in_words(v)
        lines.append(
            f"{v.claim.text:<{width}}  {paper:>6}  {here:>14}  {v.runs:>4}"
            f"  {v.episodes:>7,}  {_rising(v, '/'):>6}  {v.says}"
        )
    return "\n".join(lines)


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """The same as a table in Markdown, with the unit where it is not points."""
    heads = "in the paper | effect there | effect here | runs | trained | rising"
    lines = [f"| claim | {heads} | verdict |", "|---" * 8 + "|"]
    for v in verdicts:
        paper, here = effects_in_words(v)
        unit = UNITS.get(v.claim.figure)
        text = v.claim.text + (f" ({unit})" if unit else "")
        training = (f"{v.episodes:,}", _rising(v, " of "))
        cells = (text, v.claim.where, paper, here, v.runs, *training, v.says)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _rising(v: Verdict, of: str) -> str:
    """How many of the trainings were; "-" where that does not matter."""
    matters = v.trained and v.claim.figure != "parameters"
    return f"{v.rising}{of}{v.trained}" if matters else "-"


def effects_in_words(v: Verdict) -> tuple[str, str]:
    """The paper's effect and ours with its spread; "-" for what there is not."""
    digits = 0 if v.claim.figure == "episodes" else 1
    paper = "-" if v.paper is None else f"{v.paper:+.{digits}f}"
    here = "-" if v.effect is None else f"{v.effect:+.{digits}f}"
    return paper, here + ("" if v.spread is None else f" ± {v.spread:.{digits}f}")


def in_sentences(verdicts: Sequence[Verdict]) -> str:
    """What holds, what does not and what may be the reason, and what cannot be said.

    A paragraph for each kind of verdict, and one for each reason with the claims that
    it may explain, wrapped for a notebook.
    """
    parts = []
    for says, opening in (
        (HOLDS, "Holds here"),
        (FAILS, "Does not hold here"),
        (OPEN, "Too close to call"),
    ):
        if mine := [v for v in verdicts if v.says == says]:
            said = "; ".join(f"{v.claim.text} ({effects_in_words(v)[1]})" for v in mine)
            parts.append(f"{opening} ({len(mine)}): {said}.")
        if says == FAILS:
            for reason in dict.fromkeys(v.claim.if_not for v in mine):
                texts = [v.claim.text for v in mine if v.claim.if_not == reason]
                parts.append(f"- {'; '.join(texts)}: {reason}")
    left = sum(v.says not in (HOLDS, FAILS, OPEN) for v in verdicts)
    if left:
        parts.append(f"Too few runs to judge ({left} of {len(verdicts)} claims).")
    return "\n".join(fill(part, WIDTH, subsequent_indent="  ") for part in parts)
