"""The paper's claims, each as an effect that the recorded runs can bear out or not.

`cstlib.verdicts` holds the rule, fixed before the runs. To add a claim, add an entry.
"""

from __future__ import annotations

from typing import Any

from cstlib.experiments import IMAGE, NO_MASKS, PIXEL, SHARES, Measure
from cstlib.verdicts import (
    FAILS,
    HOLDS,
    OPEN,
    Claim,
    Term,
    Verdict,
    as_text,
    judge,
    published,
    verdict,
)

__all__ = [
    "CLAIMS",
    "FAILS",
    "HOLDS",
    "OPEN",
    "Claim",
    "Term",
    "Verdict",
    "as_text",
    "judge",
    "published",
    "verdict",
]


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
    *(
        Claim(
            f"the enhancer helps ({100 * share:g}%)",
            "Table 3",
            "miou",
            _more(_mixed(share, "b"), _mixed(share, "a")),
        )
        for share in SHARES
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
            f"decoupled heads beat coupled ones in {name} ({level['supervision']} level)",
            "Table 7",
            figure,
            _more(
                _cst(level, table="7", heads="decoupled", **level),
                _cst({**level, **COUPLED}, table="7", heads="coupled", **level),
            ),
        )
        for level in (IMAGE, PIXEL)
        for figure, name in (("er", "ER"), ("miou", "mIoU"))
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
    # The paper shows no figures for it: only "faster convergence", below Table a.7.
    Claim(
        "training with many heads is ahead of that with one (pixel level)",
        "Section A.2",
        "episodes",
        (_cst(PIXEL), _cst({**PIXEL, "heads": 1})),
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
            f"CST beats {name}*",
            "Table a.5",
            "miou",
            _more(_cst(PIXEL, table="a.5", **PIXEL), _starred(name)),
        )
        for name in ("ASNet", "HSNet")
    ),
    *(
        Claim(
            f"CST has fewer parameters than {name}*",
            "Table a.2",
            "parameters",
            _more(
                Term(
                    1.0,
                    {**PIXEL, "learner": name.lower()},
                    {"table": "a.2", "method": name},
                ),
                _cst(PIXEL, table="a.2"),
            ),
        )
        for name in ("ASNet", "HSNet")
    ),
)
