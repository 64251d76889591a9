"""Formulas as pictures, so that pages show them without a script from the network.

matplotlib sets them. What it does not know of TeX is rewritten first, as far as the
course uses it; a formula that it cannot set all the same stays readable as its source.
"""

from __future__ import annotations

import base64
import html
import io
import re
from typing import Any

# Code comes first: a dollar in it opens no formula.
_PARTS = re.compile(
    r"(?P<code>```.*?```|~~~.*?~~~|`[^`\n]*`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$\w])\$(?P<inline>[^$\s](?:(?:[^$\n]|\n(?!\s*\n))*[^$\s\\])?)\$(?![\d$])",
    re.DOTALL,
)
_TAG = re.compile(r"\\tag\{(.+?)\}")
_CASES = re.compile(r"\\begin\{cases\}(.+?)\\end\{cases\}", re.DOTALL)
_SIZE = 12  # points


def with_pictures(markdown: str) -> str:
    """Markdown whose ``$...$`` and ``$$...$$`` have become images or readable source."""

    def replaced(found: re.Match[str]) -> str:
        if found["code"]:
            return found["code"]
        if found["inline"]:
            return picture(found["inline"])
        tag = _TAG.search(found["block"])
        number = f'<span class="number">({tag[1]})</span>' if tag else ""
        return f'\n\n<div class="formula">{picture(found["block"])}{number}</div>\n\n'

    return _PARTS.sub(replaced, markdown)


def picture(tex: str) -> str:
    """An ``<img>`` of the formula with its source as text, or that source as code."""
    source = " ".join(_TAG.sub("", tex).split())
    drawn = _drawn(plain(tex))
    if drawn is None:
        return f'<code class="tex">{html.escape(source)}</code>'
    data, depth = drawn
    return (
        f'<img class="tex" alt="{html.escape(source)}" '
        f'style="vertical-align:-{depth:.1f}pt" src="data:image/svg+xml;base64,{data}">'
    )


def plain(tex: str) -> str:
    """The formula in the TeX that matplotlib knows: sizes, tags and cases rewritten."""
    tex = _TAG.sub("", tex)
    tex = _CASES.sub(lambda found: _in_a_row(found[1]), tex)
    tex = re.sub(r"\\[bB]igg?[lr]?(?![a-zA-Z])", "", tex)
    tex = re.sub(r"\\([gln]e)(?![a-zA-Z])", r"\\\1q", tex)
    tex = re.sub(r"\\frac\s*(\w)\s*(\w)", r"\\frac{\1}{\2}", tex)
    tex = re.sub(
        r"\\text\{(.*?)\}", lambda f: rf"\mathrm{{{f[1]}}}".replace(" ", r"\ "), tex
    )
    return " ".join(tex.split())


def _in_a_row(rows: str) -> str:
    cells = [row.split("&") for row in rows.split(r"\\") if row.strip()]
    texts = []
    for value, *condition in cells:
        known = condition and "else" not in condition[0]
        word = r"\ \mathrm{if}\ " if known else r"\ "
        texts.append(word.join([value, *condition]))
    return r"\{\ " + r";\quad ".join(texts) + r"\ \}"


def _drawn(tex: str) -> tuple[str, float] | None:
    """Base64 of an SVG and how far it reaches below the line, or None."""
    from matplotlib import rc_context
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    file = io.BytesIO()
    look: Any = {
        "mathtext.fontset": "cm",
        "svg.fonttype": "path",
        "svg.hashsalt": "cstlib",
        "savefig.transparent": True,
    }
    try:
        with rc_context(look):
            font = FontProperties(size=_SIZE)
            depth = math_to_image(f"${tex}$", file, prop=font, format="svg", dpi=72)
    except ValueError:  # what mathtext cannot parse
        return None
    # The date in the picture would make every export another one.
    drawn = re.sub(rb"<metadata>.*?</metadata>", b"", file.getvalue(), flags=re.DOTALL)
    return base64.b64encode(drawn).decode("ascii"), float(depth)


__all__ = ["picture", "plain", "with_pictures"]
