"""A small made world with random-mini tokens, for the tests of runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from made import CLASS_NAMES, made_voc

from cstlib import files
from cstlib.data.mini import RENDERER_VERSION
from cstlib.worlds import World

BACKBONE = "random-mini"


def made_world(home: Path, images: int = 40) -> World:
    """Made images under ``home/mini``, where ``load_world("mini")`` finds them too."""
    root = made_voc(home / "mini", images)
    meta = json.loads((root / "meta.json").read_text(encoding="utf-8"))
    files.write_json(root / "meta.json", {**meta, "renderer_version": RENDERER_VERSION})
    return World("mini", root, 96, BACKBONE, tuple(CLASS_NAMES))


@contextmanager
def made_home(folder: Path, images: int = 40) -> Iterator[World]:
    """A made world in a data home of its own, so that no test touches the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSTLIB_DATA", str(folder))
        yield made_world(folder, images)
