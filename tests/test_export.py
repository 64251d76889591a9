"""The exported pages: figures inside, formulas set, links that lead somewhere."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from cstlib import cli, export, formulas, notebooks
from cstlib.errors import CstlibError

JPEG = base64.b64encode(b"\xff\xd8\xff\xe0 a figure").decode()
WIDGET = "interactive(children=(IntSlider(value=0),))"


class Page(HTMLParser):
    """What a page links to, shows and would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.images, self.loads = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "img":
            self.images.append(given)
        if tag in ("script", "iframe", "img") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("href"):
            self.loads.append(given["href"])


def lesson(title: str, *texts: str) -> nbformat.NotebookNode:
    figure = v4.new_output("display_data", {"image/jpeg": JPEG, "text/plain": "<F>"})
    sliders = v4.new_output("display_data", {"text/plain": WIDGET})
    code = v4.new_code_cell("draw()", outputs=[figure, sliders], execution_count=1)
    opening = f"# {title}\n\n**Time** 30 minutes."
    return v4.new_notebook(
        cells=[v4.new_markdown_cell(text) for text in (opening, *texts)] + [code]
    )


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """Two small lessons and the solutions of one."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "solutions").mkdir()
    text = "Then `01_second`: $a_m$ and $$b \\tag{2}$$\n"
    for path, notebook in {
        "00_first": lesson("The first", text),
        "01_second": lesson(
            "01 · The <second>", "<details><summary>Q</summary>\n\n- so\n\n</details>"
        ),
        "solutions/00_first": lesson("Solved", "Of [it](../00_first.ipynb)."),
    }.items():
        (folder / f"{path}.ipynb").write_text(nbformat.writes(notebook), "utf-8")
    return folder


@pytest.fixture(scope="module")
def pages(course, tmp_path_factory) -> Path:
    return export.export(tmp_path_factory.mktemp("out"), course).parent


def test_there_is_a_page_for_each_notebook(pages):
    found = {p.relative_to(pages).as_posix() for p in pages.rglob("*") if p.is_file()}
    names = {"index.html", "00_first.html", "01_second.html", "solutions/00_first.html"}
    assert found == names


def test_pages_hold_their_figures(pages):
    for name in ("00_first", "01_second", "solutions/00_first"):
        shown = [i["src"] for i in Page(pages / f"{name}.html").images]
        assert any(JPEG in source.replace("\n", "") for source in shown)


def test_every_link_leads_to_a_page(pages):
    linked = set()
    for path in pages.rglob("*.html"):
        for link in Page(path).links:
            if not link.startswith("#"):
                target = (path.parent / link).resolve()
                assert target.is_file(), f"{path.name} links to {link}"
                to = target.relative_to(pages.resolve()).as_posix()
                linked.add((path.relative_to(pages).as_posix(), to))
    assert ("00_first.html", "01_second.html") in linked
    assert ("00_first.html", "solutions/00_first.html") in linked
    assert ("01_second.html", "00_first.html") in linked
    assert ("solutions/00_first.html", "00_first.html") in linked
    assert all((f"{n}.html", "index.html") in linked for n in ("00_first", "01_second"))


def test_names_of_lessons_lead_to_them():
    linked = export._linked("see `01_b`, [x](../01_b.ipynb), `02_c`", ["01_b"], "../")
    assert linked == "see [`01_b`](../01_b.html), [x](../01_b.html), `02_c`"


def test_the_index_is_a_map(pages):
    text = (pages / "index.html").read_text(encoding="utf-8")
    assert "The &lt;second&gt;</a>" in text and "01 ·" not in text
    assert text.count("30 min") == 2
    assert Page(pages / "index.html").links == [
        "00_first.html",
        "solutions/00_first.html",
        "01_second.html",
    ]


def test_pages_load_nothing(pages):
    for path in pages.rglob("*.html"):
        assert all(load.startswith("data:") for load in Page(path).loads), path
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(['\"]?https?:|import\(|\.src\s*=", text)


def test_folded_answers_stay_folded(pages):
    text = (pages / "01_second.html").read_text(encoding="utf-8")
    (inside,) = re.findall(r"<details>(.*?)</details>", text, re.DOTALL)
    assert "<li>so</li>" in inside


def test_sliders_become_a_note(pages):
    text = (pages / "00_first.html").read_text(encoding="utf-8")
    assert export.NOTE in text and "interactive(" not in text


def test_formulas_become_pictures_with_their_source(pages):
    formula = Page(pages / "00_first.html").images
    assert [i["alt"] for i in formula if i.get("class") == "tex"] == ["a_m", "b"]
    text = (pages / "00_first.html").read_text(encoding="utf-8")
    assert '<span class="number">(2)</span></div>' in text


def test_solutions_may_be_left_out(course, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        export,
        "export",
        lambda out, solutions, make=export.export: make(out, course, solutions),
    )
    assert cli.main(["export", "--out", str(tmp_path), "--without-solutions"]) == 0
    assert capsys.readouterr().out == f"Open {tmp_path / 'index.html'} in a browser.\n"
    assert not (tmp_path / "solutions").exists()
    assert "solutions" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_solutions_of_an_earlier_export_do_not_stay_unseen(course, tmp_path):
    export.export(tmp_path, course)
    before = (tmp_path / "index.html").read_bytes()
    with pytest.raises(CstlibError, match="solutions from an earlier export: remove"):
        export.export(tmp_path, course, solutions=False)
    assert (tmp_path / "index.html").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_said(course, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(CstlibError, match="choose another"):
        export.export(tmp_path / "file" / "pages", course)


def test_a_damaged_notebook_writes_no_page(tmp_path):
    (tmp_path / "00_bad.ipynb").write_text("{half", encoding="utf-8")
    with pytest.raises(CstlibError, match="cannot be read as a notebook"):
        export.export(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


# ---- Formulas ------------------------------------------------------------------------


def test_dollars_in_code_and_prices_open_no_formula():
    assert "<img" in formulas.with_pictures("so $a$ is")
    assert "<img" in formulas.with_pictures("so $a +\nb$ is")
    text = "`$a$`\n```sh\n$b = $c\n```\ncosts $5 or $6 a head"
    assert formulas.with_pictures(text) == text


def test_formulas_of_the_course_can_be_set():
    """All of them; a new one that matplotlib cannot set is shown as its source."""
    count = 0
    for path in notebooks.FOLDER.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                made = formulas.with_pictures(cell.source)
                assert '<code class="tex">' not in made, f"{path.stem}: {cell.source}"
                assert "$" not in re.sub(r"`[^`]*`|<img[^>]*>", "", made), path.stem
                count += made.count('<img class="tex"')
    assert count > 20


def test_what_cannot_be_set_stays_readable():
    assert formulas.picture(r"\unknown{a} < b") == (
        r'<code class="tex">\unknown{a} &lt; b</code>'
    )


@pytest.mark.parametrize(
    ("tex", "rewritten"),
    [
        (r"\bigl(a\bigr) \tag{3}", "(a)"),
        (r"\frac1K \ge 0", r"\frac{1}{K} \geq 0"),
        (r"\text{is so}", r"\mathrm{is\ so}"),
        (
            r"\begin{cases} a & b \\ c & \text{else} \end{cases}",
            r"\{\ a \ \mathrm{if}\ b ;\quad c \ \mathrm{else} \ \}",
        ),
        (r"\left(a\right) \big|", r"\left(a\right) |"),
        (r"\bigcup \neq \leq", r"\bigcup \neq \leq"),
    ],
)
def test_tex_is_rewritten_for_matplotlib(tex, rewritten):
    assert formulas.plain(tex) == rewritten


def test_the_same_formula_gives_the_same_picture():
    assert formulas.picture(r"\lambda") == formulas.picture(r"\lambda")
