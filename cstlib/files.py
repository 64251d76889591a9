"""Write files so that a crash leaves the old content or the new, never a half."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cstlib.errors import CstlibError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` on success.

    The rename is atomic because both lie in one folder. If the body fails, the
    temporary file is removed and ``path`` stays as it was.

    Raises:
        CstlibError: the folder cannot be created or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise CstlibError(
            f"Cannot write to the folder {path.parent} ({error.strerror}): "
            "choose another one or change its permissions."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result that others read should not be.
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise CstlibError(
            f"Cannot write {path} ({error.strerror}): free some disk space or "
            "choose another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON with a final newline, all or nothing."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
