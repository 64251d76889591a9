"""Predicting with a learner that comes along: which one is taken, and what is refused."""

from __future__ import annotations

import pytest
import torch
from made import is_one_sentence
from made_support import BACKBONE, made_user
from safetensors.torch import save_file

import cstlib
from cstlib import files, shipped_learners
from cstlib.cst import CST
from cstlib.errors import CstlibError
from cstlib.predictor import Predictor


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return made_user(tmp_path_factory.mktemp("predict"))


def ship(folder, monkeypatch, *names, **notes):
    """Put learners where the shipped ones are looked for."""
    monkeypatch.setattr(shipped_learners, "WEIGHTS", folder)
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        weights = {k: x.half() for k, x in CST().state_dict().items()}
        path = folder / f"{name}.safetensors"
        save_file(weights, path)
        content = {"sha256": files.sha256(path), "config": {"backbone": BACKBONE}}
        files.write_json(path.with_suffix(".json"), {**content, **notes})


def test_five_lines_of_python(world, tmp_path, monkeypatch):
    """As in the docstring, with a learner that ships."""
    ship(tmp_path, monkeypatch, "cst-pixel-mini")
    predictor = cstlib.Predictor(world.plain)
    for found in predictor.predict(world.query.parent):
        assert found.name == "query" and found.presence_prob.keys() == {"key", "mug"}
        found.save(tmp_path / "results")
    assert (tmp_path / "results" / "overlays" / "query.jpg").is_file()
    with pytest.raises(AttributeError):
        cstlib.Nothing  # noqa: B018


def test_the_first_shipped_learner_is_the_default(world, tmp_path, monkeypatch):
    ship(tmp_path, monkeypatch, "cst-image-mini", "cst-pixel-mini")
    plain, marked = Predictor(world.plain), Predictor(world.marked)
    assert plain.checkpoint == marked.checkpoint == "cst-pixel-mini"
    assert plain.backbone.name == BACKBONE  # as the notes say
    named = Predictor(world.plain, checkpoint="cst-pixel-mini")
    for a, b in zip(named.learner.parameters(), marked.learner.parameters()):
        assert torch.equal(a, b) and a.dtype == torch.float32
    # Where one is missing, the other serves.
    (tmp_path / "cst-pixel-mini.safetensors").unlink()
    assert Predictor(world.plain).checkpoint == "cst-image-mini"
    # A file by its path, as any checkpoint.
    path = tmp_path / "cst-image-mini.safetensors"
    assert Predictor(world.plain, checkpoint=path).learner.in_channels == 72


def test_a_missing_or_changed_shipped_learner_is_said(world, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped_learners, "WEIGHTS", tmp_path)
    for checkpoint, word in (
        (None, "No trained learner"),
        ("cst-pixel-mini", "is not in"),
        (tmp_path / "x.safetensors", "no checkpoint"),
        (tmp_path / "x.pt", "no checkpoint"),
    ):
        with pytest.raises(CstlibError, match=word) as error:
            Predictor(world.plain, checkpoint=checkpoint)
        assert is_one_sentence(error.value)
    ship(tmp_path, monkeypatch, "cst-pixel-mini")
    (tmp_path / "cst-pixel-mini.json").unlink()
    with pytest.raises(CstlibError, match="has no cst-pixel-mini.json"):
        Predictor(world.plain)
    ship(tmp_path, monkeypatch, "cst-pixel-mini", sha256="0")
    with pytest.raises(CstlibError, match="SHA-256"):
        Predictor(world.plain)
    ship(tmp_path, monkeypatch, "cst-pixel-mini", in_channels=12)
    with pytest.raises(CstlibError, match="correlation channels"):
        Predictor(world.plain)
