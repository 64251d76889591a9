"""Fetch large files: resumed where they were cut, checked, and never half in place.

A download grows as ``<name>.part`` and gets its name when it is complete and its MD5
is the published one. Run again after whatever went wrong, it goes on from there.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from cstlib.errors import CstlibError

BLOCK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte
PATIENCE = 5  # tries in a row that bring nothing new
# A full disk, and (not on Windows) a full quota.
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
RESERVE = 200 * 2**20  # bytes that are left free on any disk


@dataclass(frozen=True)
class Archive:
    """A file on an official host.

    Attributes:
        url: where it is.
        size: bytes, about; for the look at the disk before the download.
        md5: hexadecimal, or None where none is known.
        folders: what it holds and where that belongs, relative to the target folder.
    """

    url: str
    size: int
    md5: str | None
    folders: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def fetch(
    archive: Archive,
    folder: str | Path,
    progress: bool = True,
    patience: int = PATIENCE,
    pause: float = 2.0,
) -> Path:
    """Download ``archive`` into ``folder``, or take the file that lies there already.

    Args:
        patience: tries in a row without a new byte before giving up.
        pause: seconds before the second of these; later ones wait longer.

    Returns:
        The complete, checked file.

    Raises:
        CstlibError: no server, no such file there, other bytes than the published
            ones, or no room on the disk. What had arrived is kept for the next time.
    """
    folder = Path(folder)
    path = folder / archive.name
    if path.is_file():
        check_md5(path, archive, progress)
        return path
    part = folder / f"{archive.name}.part"
    check_space(folder, archive.size - (part.stat().st_size if part.is_file() else 0))
    resumed = part.is_file()
    _download(archive, part, progress, patience, pause)
    if resumed and not _has_md5(part, archive, progress):
        # The beginning may be from another day's file: once more from the start.
        part.unlink()
        _download(archive, part, progress, patience, pause)
    if not _has_md5(part, archive, progress):
        part.unlink()
        raise CstlibError(
            f"{archive.url} sent other bytes than the published file (MD5 differs): "
            f"try again later, or fetch {archive.name} elsewhere and put it into "
            f"{folder}."
        )
    part.replace(path)
    _tag_file(part).unlink(missing_ok=True)
    return path


def check_md5(path: Path, archive: Archive, progress: bool = True) -> None:
    """See to it that ``path`` holds the published bytes.

    Raises:
        CstlibError: it does not.
    """
    if not _has_md5(path, archive, progress):
        raise CstlibError(
            f"{path} is not the published file (MD5 differs): delete it and run the "
            "command again."
        )


def check_space(folder: Path, needed: int) -> None:
    """See to it that ``folder``'s disk takes ``needed`` bytes more.

    Raises:
        CstlibError: it does not, with some room to spare.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed + RESERVE:
        raise CstlibError(
            f"{folder} needs {(needed + RESERVE) / 1e9:.1f} GB and its disk has "
            f"{free / 1e9:.1f} GB free: make room or choose another folder with --root."
        )


def _has_md5(path: Path, archive: Archive, progress: bool) -> bool:
    if archive.md5 is None:
        return True
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, _bar(archive, progress, "checking") as bar:
        bar.total = path.stat().st_size
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest() == archive.md5


def _download(
    archive: Archive, part: Path, progress: bool, patience: int, pause: float
) -> None:
    """Let ``part`` grow to the whole file, over as many connections as it takes."""
    with _writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    idle = 0
    with _bar(archive, progress, "fetching") as bar:
        while True:
            before = part.stat().st_size
            problem = _continue(archive, part, bar)
            if problem is None:
                return
            idle = idle + 1 if part.stat().st_size <= before else 0
            if idle >= patience:
                raise CstlibError(
                    f"Cannot download {archive.url} ({problem}): check the network and "
                    f"run the command again, which goes on where it stopped, or put "
                    f"{archive.name} into {part.parent} by other means."
                )
            time.sleep(pause * idle)


def _continue(archive: Archive, part: Path, bar: tqdm) -> str | None:
    """One connection; None if the file is complete, else what went wrong."""
    have = part.stat().st_size
    tag = _tag_file(part)
    headers = {"User-Agent": "cstlib", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.is_file():
            # Another version of the file is then sent whole instead of its rest.
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    try:
        request = urllib.request.Request(archive.url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            start, total = _extent(answer, have)
            if start != have:  # the server starts again from the beginning
                start = 0
            if total is not None:
                bar.total = total
                check_space(part.parent, total - start)
            with _writing(part), part.open("r+b") as file:
                file.truncate(start)
                file.seek(start)
                _remember_tag(answer, tag)
                bar.n = start
                for block in _blocks(answer):
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing left to send, or less than we have
            whole = error.headers.get("Content-Range", "").rpartition("/")[2]
            if whole == str(have):
                return None
            part.write_bytes(b"")
            return "the file there is shorter than what was fetched before"
        if error.code < 500 and error.code not in (408, 429):
            raise CstlibError(
                f"{archive.url} is not to be had ({error.code} {error.reason}): put "
                f"{archive.name} into {part.parent} by other means."
            ) from error
        return f"{error.code} {error.reason}"
    except (OSError, http.client.HTTPException, _Cut) as error:
        reason = getattr(error, "reason", None) or error
        return str(getattr(reason, "strerror", None) or reason) or "connection lost"
    arrived = part.stat().st_size
    if total is not None and arrived != total:
        return f"the connection was cut at {arrived} of {total} bytes"
    return None


class _Cut(Exception):
    """The network failed in the middle of a body."""


def _blocks(answer) -> Iterator[bytes]:
    """The body; network errors are told apart from those of the disk."""
    while True:
        try:
            block = answer.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(str(error) or "connection lost") from error
        if not block:
            return
        yield block


def _extent(answer, have: int) -> tuple[int, int | None]:
    """First byte of the body within the file, and the file's whole size if told."""
    if answer.status == 206:
        unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
        span, _, total = rest.partition("/")
        first = span.partition("-")[0]
        if unit != "bytes" or first != str(have):
            raise _Cut("the server sent another part than was asked for")
        return have, int(total) if total.isdigit() else None
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _remember_tag(answer, tag: Path) -> None:
    """Keep the version's mark; weak ones may not be used for parts of files."""
    mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    if mark and not mark.startswith("W/"):
        tag.write_text(mark, encoding="utf-8")
    else:
        tag.unlink(missing_ok=True)


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    """Make a sentence of what the disk refuses; the network's errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise CstlibError(
                f"The disk of {part.parent} is full: make room and run the command "
                "again, which goes on where it stopped."
            ) from error
        raise CstlibError(
            f"Cannot write {part} ({error.strerror}): choose another folder with "
            "--root or change its permissions."
        ) from error


def _bar(archive: Archive, progress: bool, what: str) -> tqdm:
    return tqdm(
        desc=f"{what} {archive.name}",
        total=archive.size,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=not progress,
    )
