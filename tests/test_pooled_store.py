"""Pooled supports and keys on disk: the backbone's own, never stale, never half."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made import is_one_sentence
from made_world import made_home
from PIL import Image

from cstlib import pooled_store
from cstlib.bench_paths import Setting, make_backbone
from cstlib.cli import build_parser
from cstlib.config import TrainConfig
from cstlib.correlation import pool_tokens
from cstlib.errors import CstlibError
from cstlib.features import (
    Features,
    FeatureStore,
    PooledStore,
    cache_budget,
    listed_images,
    open_features,
)
from cstlib.fitting import Run
from cstlib.pooled_store import SealedRows

SIZE = 160  # pixels: 20 x 20 tokens, more than a support's 12 x 12


@pytest.fixture(scope="module")
def backbone():
    setting = Setting(image_size=SIZE, width=24, depth=2, heads=3)
    return make_backbone(setting)


@pytest.fixture
def images():
    return 20


@pytest.fixture
def world(tmp_path, images):
    with made_home(tmp_path, images) as world:
        yield replace(world, image_size=SIZE)


def opened(world, backbone, **options):
    store = PooledStore(world, backbone, "cpu", **options)
    return SimpleNamespace(
        store=store, names=sorted(listed_images(world))[:3], run=store.recent
    )


def assert_close(a, b):
    torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)


def test_rows_are_the_pooled_tokens_and_the_keys(world, backbone):
    first = opened(world, backbone)
    names = [first.names[2], first.names[0], first.names[2]]
    images = listed_images(world)
    live = Features(backbone, lambda name: images[name](name), "cpu").tokens(names)
    pooled = pool_tokens(live)
    for again in (first, opened(world, backbone)):  # computed, then read
        found = again.store.support_tokens(names)
        assert found.grids == pooled.grids and found.heads == pooled.heads
        for a, b in zip(found.cls + found.patches, pooled.cls + pooled.patches):
            assert a.dtype == torch.float32
            assert_close(a, b)
        keys = again.store.attention(names)
        assert_close(keys.attn_k, live.attn_k)
        assert_close(keys.attn_q, live.attn_q)
        assert keys.grids == live.grids and keys.cls == []
    assert first.run.computed == 2 and again.run.computed == 0


def test_what_was_computed_equals_what_is_read(world, backbone):
    """So that a run's figures do not depend on what earlier runs left."""
    first, second = opened(world, backbone), opened(world, backbone)
    computed, read = (each.store.support_tokens(each.names) for each in (first, second))
    for a, b in zip(computed.patches, read.patches):
        assert torch.equal(a, b)
    assert second.run.computed == 0


def test_a_changed_image_has_no_row(world, backbone):
    first = opened(world, backbone)
    old = first.store.support_tokens(first.names)
    path = world.root / "JPEGImages" / f"{first.names[1]}.png"
    Image.fromarray(np.full((96, 96, 3), 99, np.uint8)).save(path)
    second = opened(world, backbone)
    new = second.store.support_tokens(second.names)
    assert second.run.computed == 1 and second.store.path == first.store.path
    assert not torch.allclose(new.patches[-1][1], old.patches[-1][1], atol=0.05)
    assert torch.equal(new.patches[-1][0], old.patches[-1][0])


def test_other_weights_precisions_and_lists_have_other_tables(world, backbone):
    first = opened(world, backbone).store.path
    half = opened(world, backbone, precision="bf16").store.path
    other = make_backbone(Setting(image_size=SIZE, width=24, depth=2, heads=3))
    with torch.no_grad():
        other.vit.norm.bias += 1
    assert half != first and first.is_dir()
    assert opened(world, other).store.path != first
    assert not first.exists() and half.is_dir()  # no name leads there any more


def test_a_torn_row_is_computed_again(world, backbone):
    first = opened(world, backbone)
    first.store.support_tokens(first.names)
    path = first.store.path / "pooled.rows"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    second = opened(world, backbone)
    second.store.support_tokens(second.names)
    assert second.run.computed == 1


def test_many_at_once_leave_whole_rows(tmp_path):
    """Writers and readers of one file, each with a handle of its own."""
    names = [f"image {n}" for n in range(6)]
    expected = {
        name: np.random.RandomState(n).randn(5000).astype(np.float16)
        for n, name in enumerate(names)
    }
    wrong = []

    def work(seed):
        rows = SealedRows(tmp_path / "rows", names, 5000, str.encode)
        for n in np.random.RandomState(seed).randint(len(names), size=60):
            found = rows.read(names[n])
            if found is None:
                rows.write(names[n], expected[names[n]])
            elif not np.array_equal(found, expected[names[n]]):
                wrong.append(names[n])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = SealedRows(tmp_path / "rows", names, 5000, str.encode)
    assert not wrong and all(after.read(name) is not None for name in names)


def test_the_file_takes_the_room_of_its_rows_alone(tmp_path):
    names = [f"image {n}" for n in range(1000)]
    rows = SealedRows(tmp_path / "rows", names, 50_000, str.encode)
    rows.write(names[500], np.ones(50_000, np.float16))
    status = (tmp_path / "rows").stat()
    if not hasattr(status, "st_blocks"):
        pytest.skip("this system does not tell")
    assert status.st_size > 100_000_000 and 512 * status.st_blocks < 1_000_000


def test_a_full_disk_ends_the_keeping_not_the_run(world, backbone, monkeypatch, capsys):
    first = opened(world, backbone)
    usage = SimpleNamespace(free=10**6)
    monkeypatch.setattr(pooled_store.shutil, "disk_usage", lambda folder: usage)
    found = first.store.support_tokens(first.names)
    assert len(found.cls[0]) == 3
    assert capsys.readouterr().err.count("no more features are kept") == 1
    monkeypatch.undo()
    assert opened(world, backbone).store._pooled.read(first.names[0]) is None


def test_the_budget_decides_what_is_kept(world, backbone, monkeypatch, capsys):
    kinds = {}
    for gigabytes in ("0", "0.0006", "0.0015", "0.003", ""):
        monkeypatch.setenv("CSTLIB_CACHE_GB", gigabytes)
        found = open_features(world, backbone, "cpu")
        kinds[gigabytes] = (type(found), getattr(found, "_keys", None) is not None)
    assert kinds == {
        "0": (Features, False),
        "0.0006": (PooledStore, False),
        "0.0015": (PooledStore, True),
        "0.003": (FeatureStore, False),
        "": (FeatureStore, False),
    }
    said = capsys.readouterr().err
    assert "--cache-gb" in said and "pooled supports and keys are kept in" in said
    assert cache_budget() == 8e9
    build_parser("train").parse_args(["train", "--cache-gb", "0.5"])
    assert cache_budget() == 5e8
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("CSTLIB_CACHE_GB", wrong)
        with pytest.raises(CstlibError, match="CSTLIB_CACHE_GB") as error:
            cache_budget()
        assert is_one_sentence(error.value)


def test_a_control_that_only_attends_is_kept_whole_or_not_at_all(
    world, backbone, monkeypatch, capsys
):
    monkeypatch.setenv("CSTLIB_CACHE_GB", "0.0015")
    found = open_features(world, backbone, "cpu", progress=False, layers=False)
    assert isinstance(found, FeatureStore) and found.bytes < 1.5e6
    monkeypatch.setenv("CSTLIB_CACHE_GB", "0")
    live = open_features(world, backbone, "cpu", layers=False)
    assert type(live) is Features and "--cache-gb" in capsys.readouterr().err
    name = min(listed_images(world))
    assert_close(found.attention([name]).attn_k, live.attention([name]).attn_k)


def test_expected_supports_are_computed_once_and_no_queries(world, backbone):
    first = opened(world, backbone)
    first.store.expect(first.names)
    assert first.run.computed == 3 and not first.run._full
    first.store.attention(first.names)
    first.store.support_tokens(first.names)
    assert first.run.computed == 3
    again = opened(world, backbone)
    again.store.expect(again.names)
    assert again.run.computed == 0
    again.store.tokens(again.names[:1])
    again.store.forget_full()
    assert not again.run._full


@pytest.mark.parametrize("images", [40])
def test_a_run_on_kept_supports_is_the_run_on_live_ones(world, backbone):
    config = TrainConfig(
        data="mini",
        backbone="made",
        learner="cst",
        episodes=4,
        batch_size=4,
        validation_episodes=2,
    )
    load = listed_images(world)
    live = Features(backbone, lambda name: load[name](name), "cpu")
    found = []
    for features in (live, PooledStore(world, backbone, "cpu")):
        run = Run(config, world, features)
        plans = list(run.train_set.training_plans(4, seed=0))
        found.append(run.step(plans).loss)
    assert found[1] == pytest.approx(found[0], rel=2e-3)
    # Every support, and every query whose keys its target needed, has its row now.
    again = PooledStore(world, backbone, "cpu")
    supports = [plan.supports[0][0] for plan in plans]
    again.support_tokens(supports)
    again.attention(supports + [plan.query for plan in plans])
    assert again.recent.computed == 0


def test_what_cannot_be_is_said_in_one_sentence(world, backbone, tmp_path, monkeypatch):
    store = opened(world, backbone).store
    with pytest.raises(CstlibError, match="nobody") as unknown:
        store.support_tokens(["nobody"])
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "file"))
    with pytest.raises(CstlibError, match="CSTLIB_CACHE_GB") as no_folder:
        opened(world, backbone)
    for error in (unknown, no_folder):
        assert is_one_sentence(error.value)
