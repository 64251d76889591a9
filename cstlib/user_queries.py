"""Which pictures are asked about, and how the files written for them are called."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from PIL import Image

from cstlib.errors import CstlibError
from cstlib.support_folder import listed
from cstlib.user_images import shown

Query = str | Path | Image.Image

# Photographs that Pillow does not read. They fail, and so are not silently left out.
PHOTOGRAPHS = {".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
FORBIDDEN = set('<>:"/\\|?*')  # in file names on one system or another
DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in range(10)
}
LONGEST = 100  # bytes of a name, so that there is room for what is added


def find_queries(
    queries: Query | Iterable[Query],
) -> Iterator[tuple[Query, CstlibError | None]]:
    """Each picture once, folders replaced by the pictures in them.

    Returns:
        Pairs of a query and what is wrong with it, if that is known already.
    """
    if isinstance(queries, (str, Path, Image.Image)):
        queries = [queries]
    seen: set[Path] = set()
    for query in chain.from_iterable(map(_in_folder, queries)):
        path, _ = query
        if not isinstance(path, Image.Image):
            absolute = Path(path).absolute()
            if absolute in seen:
                continue
            seen.add(absolute)
        yield query


def _in_folder(query: Query) -> Iterator[tuple[Query, CstlibError | None]]:
    """The pictures in a folder, by their extensions; anything else is passed on."""
    if isinstance(query, Image.Image) or not os.path.isdir(query):
        yield query, None
        return
    known = Image.registered_extensions().keys() | PHOTOGRAPHS
    try:
        files = [p for p in listed(Path(query)) if p.suffix.lower() in known]
        if not files:
            raise CstlibError(
                f"The folder {shown(query)} holds no picture: name a picture, or "
                "another folder."
            )
    except CstlibError as error:
        yield query, error
        return
    for path in files:
        if not os.path.isdir(path):
            yield path, None


class OutputNames:
    """File names for queries: safe on every system, and no two alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, query: Query) -> str:
        """A new name for a query's files, made of its own without extension."""
        own = "image" if isinstance(query, Image.Image) else Path(query).stem
        stem = safe_name(own)
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return name


def safe_name(name: str) -> str:
    """A file name of one part that every system takes and none interprets."""
    text = os.fsencode(name).decode("utf-8", "replace")
    text = unicodedata.normalize("NFC", text)
    text = "".join(c if c.isprintable() and c not in FORBIDDEN else "_" for c in text)
    text = text.encode()[:LONGEST].decode(errors="ignore").strip(". ")
    if not text:
        return "image"
    return f"_{text}" if text.split(".")[0].strip().lower() in DEVICES else text
