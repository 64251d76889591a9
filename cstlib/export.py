"""``python -m cstlib export --out DIR``: the course as pages for a browser.

One page for each notebook with its stored outputs, one for each notebook of solutions,
and ``index.html`` with the map. The pages need no network: figures and styles are
inside, formulas are pictures, and nothing is run.
"""

from __future__ import annotations

import argparse
import html
import re
from pathlib import Path
from typing import Any

from cstlib import files
from cstlib.errors import CstlibError
from cstlib.formulas import with_pictures
from cstlib.notebook_kernel import imported
from cstlib.notebooks import FOLDER, find
from cstlib.solutions import FOLDER as SOLUTIONS

SLIDERS = "interactive(children="
NOTE = "In JupyterLab, controls stand here; this is the figure at their first values."


def add_parser(subparsers: Any) -> None:
    """Add ``export`` to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write the course as HTML pages with their figures",
        description="Write the notebooks, with the outputs that are stored in them, and "
        "their solutions as HTML pages that need no network, and an index of them.",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--without-solutions", action="store_true", help="leave the solutions out"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the pages and say where they begin."""
    index = export(args.out, solutions=not args.without_solutions)
    print(f"Open {index} in a browser.")
    return 0


def export(out: str | Path, folder: Path = FOLDER, solutions: bool = True) -> Path:
    """Write all pages below ``out`` and return the path of the index.

    Args:
        folder: the lessons'; their solutions lie in its folder ``solutions``.
        solutions: whether their pages are written, too.

    Raises:
        CstlibError: there are no notebooks, one cannot be read, the folder cannot be
            written or holds solutions that were to be left out, or nbconvert is missing.
    """
    out = Path(out)
    there = [path for path in find([], folder) if path.is_file()]
    lessons = [path for path in there if path.parent == folder]
    solved = [p for p in there if p.parent == folder / SOLUTIONS and solutions]
    if not solutions and any((out / SOLUTIONS).glob("*.html")):
        raise CstlibError(
            f"{out / SOLUTIONS} holds solutions from an earlier export: remove it, or "
            "choose another folder."
        )
    read = {path: _read(path) for path in (*lessons, *solved)}
    index = index_page({path: read[path] for path in lessons}, solved)
    for path, notebook in read.items():
        links = _around(path, lessons, solved)
        up = "../" if path in solved else ""
        page = to_html(notebook, [p.stem for p in lessons], links, up)
        files.write_text(out / path.relative_to(folder).with_suffix(".html"), page)
    files.write_text(out / "index.html", index)
    return out / "index.html"


def to_html(notebook: Any, lessons: list[str], links: str = "", up: str = "") -> str:
    """A notebook as one page that loads nothing from anywhere; changes ``notebook``.

    Args:
        lessons: names of the notebooks that other pages are made of.
        links: HTML to stand above and below the content.
        up: from this page to the folder of the lessons' pages.
    """
    nbconvert = imported("nbconvert")
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_pictures(_linked(cell.source, lessons, up))
        for output in cell.get("outputs", []):
            if output.get("data", {}).get("text/plain", "").startswith(SLIDERS):
                output["data"] = {"text/html": f"<em>{NOTE}</em>"}
    exporter = nbconvert.HTMLExporter(
        template_name="lab",
        mathjax_url="",
        require_js_url="",
        mermaid_js_url="",
        jquery_url="",
        widget_renderer_url="",
    )
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    page = _without_loading(page)
    page = page.replace("</head>", f"<style>{_STYLE}</style>\n</head>", 1)
    page = re.sub(
        r"(<body[^>]*>)", lambda m: f"{m[1]}\n<nav>{links}</nav>", page, count=1
    )
    return page.replace("</body>", f"<nav>{links}</nav>\n</body>", 1)


def index_page(lessons: dict[Path, Any], solved: list[Path]) -> str:
    """The map: a row for each notebook with its question, time and solutions."""
    answered = {path.name for path in solved}
    rows = []
    for path, notebook in lessons.items():
        first = notebook.cells[0].source
        title = re.sub(r"^\d\d · ", "", first.splitlines()[0].lstrip("# "))
        minutes = re.search(r"(\d+)\s*min", first)
        link = f'<a href="{path.stem}.html">{html.escape(title)}</a>'
        solution = (
            f'<a href="{SOLUTIONS}/{path.stem}.html">solutions</a>'
            if path.name in answered
            else ""
        )
        cells = path.stem[:2], link, f"{minutes[1]} min" if minutes else "", solution
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return _INDEX.format(style=_STYLE, rows="\n".join(rows))


def _read(path: Path) -> Any:
    nbformat = imported("nbformat")
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        notebook.cells[0].source.splitlines()[0]
    except (OSError, ValueError, AttributeError, IndexError) as error:
        raise CstlibError(
            f"{path} cannot be read as a notebook ({error}): restore it with git."
        ) from error
    return notebook


def _around(path: Path, lessons: list[Path], solved: list[Path]) -> str:
    """Links from a page to the index, its neighbours and its solutions."""
    if path in solved:
        return _links([("../index.html", "Course"), (f"../{path.stem}.html", "Lesson")])
    place = lessons.index(path)
    links = [("index.html", "Course")]
    if place:
        before = lessons[place - 1].stem
        links.append((f"{before}.html", f"← {before}"))
    if any(path.name == one.name for one in solved):
        links.append((f"{SOLUTIONS}/{path.stem}.html", "Solutions"))
    if place + 1 < len(lessons):
        after = lessons[place + 1].stem
        links.append((f"{after}.html", f"{after} →"))
    return _links(links)


def _links(pairs: list[tuple[str, str]]) -> str:
    return " · ".join(f'<a href="{to}">{html.escape(text)}</a>' for to, text in pairs)


def _linked(markdown: str, lessons: list[str], up: str) -> str:
    """Names of lessons lead to their pages, as do links to notebooks."""
    names = "|".join(map(re.escape, lessons))
    markdown = re.sub(
        rf"(?<!\[)`({names})`", lambda m: f"[`{m[1]}`]({up}{m[1]}.html)", markdown
    )
    return re.sub(r"\]\(([\w./]+)\.ipynb\)", r"](\1.html)", markdown)


def _without_loading(page: str) -> str:
    """Take out scripts and styles that a browser would fetch."""
    page = re.sub(r'<script[^>]*\ssrc="[^"]*"[^>]*>\s*</script>', "", page)
    page = re.sub(r"<link[^>]*\shref=\"https?:[^>]*>", "", page)
    return re.sub(
        r"<script[^>]*>(?:(?!</script>).)*(?:https?://|mermaid|MathJax)"
        r"(?:(?!</script>).)*</script>",
        "",
        page,
        flags=re.DOTALL,
    )


_STYLE = """
nav { max-width: 1000px; margin: 0 auto; padding: 12px 0; font: 14px/1.6 sans-serif; }
nav a, .course a { color: #0072B2; text-decoration: none; }
nav a:hover, .course a:hover { text-decoration: underline; }
main { max-width: 1000px; margin: 0 auto; }
.jp-OutputArea-output pre { word-break: normal; overflow-wrap: anywhere; }
.jp-RenderedMarkdown .highlight { margin: 1em 0; }
img.tex { height: auto; max-width: 100%; }
.formula { margin: 1em 0; text-align: center; position: relative; }
.formula .number { position: absolute; right: 0; }
.course { max-width: 760px; margin: 2em auto; font: 16px/1.5 sans-serif; }
.course table { border-collapse: collapse; width: 100%; }
.course td { padding: 6px 16px 6px 0; vertical-align: top; border-top: 1px solid #ddd; }
"""

_INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Few-shot classification and segmentation: a course on CST</title>
<style>{style}</style>
</head>
<body>
<div class="course">
<h1>Few-shot classification and segmentation, from images to CST</h1>
<p>A course on the Classification-Segmentation Transformer, to read. To run it, open the
notebooks of the same names in JupyterLab; the README says how.</p>
<table>
{rows}
</table>
<p>Data flow one way: episode → tokens → (pseudo-masks) → correlations → CST → presence
and mask → metrics.</p>
</div>
</body>
</html>
"""
