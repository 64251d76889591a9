"""Fixtures that several files share; a file that needs another one defines its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from made_world import BACKBONE, made_home

from cstlib.features import Features, open_features
from cstlib.worlds import World


@pytest.fixture(scope="module")
def world(request, tmp_path_factory) -> Iterator[World]:
    """A made world of its own for each file, with 40 images or its ``IMAGES``."""
    images = getattr(request.module, "IMAGES", 40)
    with made_home(tmp_path_factory.mktemp("home"), images) as world:
        yield world


@pytest.fixture(scope="module")
def features(world) -> Features:
    """The made world's features, from weights that nobody trained."""
    return open_features(world, BACKBONE, progress=False)


@pytest.fixture
def offline(monkeypatch):
    """Any attempt to fetch something fails the test."""

    def fetch(*args, **kwargs):
        raise AssertionError("nothing needs to be fetched here")

    monkeypatch.setattr("cstlib.data.obtain.fetch", fetch)
