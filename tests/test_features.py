"""The feature store: the same tokens as the backbone's, never stale, never half."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE, made_home
from PIL import Image

from cstlib.backbones import load_backbone
from cstlib.errors import CstlibError
from cstlib.features import Features, FeatureStore, listed_images, open_features
from cstlib.paths import cache_home

IMAGES = 24  # of the made world


@pytest.fixture(scope="module")
def store(world):
    return FeatureStore(world, BACKBONE, progress=False)


def no_building(*args):
    raise AssertionError("the table was there already")


def test_rows_are_the_backbones_tokens_in_the_order_asked_for(world, store):
    names = sorted(listed_images(world))
    chosen = [names[5], names[0], names[5], names[-1]]
    live = open_live(world).tokens(chosen)
    kept = store.tokens(chosen)
    assert kept.heads == live.heads and kept.grids == live.grids
    assert store.channels == len(kept.cls) * kept.heads == 72
    for a, b in zip(kept.cls + kept.patches, live.cls + live.patches):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)
    for found in (kept, store.attention(chosen)):
        torch.testing.assert_close(found.attn_q, live.attn_q, rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(found.attn_k, live.attn_k, rtol=2e-3, atol=2e-3)
    assert kept.attn_q.shape[2] == 1


def open_live(world):
    images = listed_images(world)
    return Features(BACKBONE, lambda name: images[name](name))


def test_the_table_is_made_once(world, store, monkeypatch):
    monkeypatch.setattr(FeatureStore, "_build", no_building)
    again = open_features(world, load_backbone(BACKBONE), progress=False)
    assert again.path == store.path
    size = (store.path / "tokens.npy").stat().st_size
    assert 0 <= size - store.bytes < 1000


def test_attention_alone_needs_little_room(world, store):
    small = FeatureStore(world, BACKBONE, progress=False, layers=False)
    names = sorted(listed_images(world))[:3]
    assert torch.equal(small.attention(names).attn_k, store.attention(names).attn_k)
    assert small.bytes * 10 < store.bytes
    with pytest.raises(ValueError, match="layers=False"):
        small.tokens(names)


def test_other_weights_or_images_make_another_table(tmp_path):
    with made_home(tmp_path, images=20) as world:
        first = FeatureStore(world, BACKBONE, progress=False).path
        moved = replace(world, root=world.root.rename(tmp_path / "elsewhere"))
        assert FeatureStore(moved, BACKBONE, progress=False).path == first

        name = min(listed_images(moved))
        grey = np.full((96, 96, 3), 99, np.uint8)
        Image.fromarray(grey).save(moved.root / "JPEGImages" / f"{name}.png")
        second = FeatureStore(moved, BACKBONE, progress=False).path
        assert second != first
        # A gigabyte that no name leads to any more is not kept.
        assert not first.exists()

        changed = load_backbone(BACKBONE)
        with torch.no_grad():
            changed.vit.norm.bias += 1
        assert FeatureStore(moved, changed, progress=False).path != second


def test_two_processes_at_once_do_no_harm(world, monkeypatch):
    """The faster one's table appears while this one is still computing."""
    first = FeatureStore(world, BACKBONE, progress=False)
    aside = first.path.with_name("aside")
    first.path.rename(aside)
    fill = FeatureStore._fill

    def slow_fill(self, path, *rest):
        fill(self, path, *rest)
        aside.rename(first.path)

    monkeypatch.setattr(FeatureStore, "_fill", slow_fill)
    second = FeatureStore(world, BACKBONE, progress=False)
    assert second.path == first.path
    assert not list(cache_home().glob("features/.building-*"))


def test_one_builds_while_another_waits(tmp_path, monkeypatch):
    fill, filled = FeatureStore._fill, []

    def counted_fill(self, *rest):
        filled.append(self.name)
        fill(self, *rest)

    monkeypatch.setattr(FeatureStore, "_fill", counted_fill)
    with made_home(tmp_path, images=20) as world:
        # What a process that was killed while it built has left.
        folder = FeatureStore(world, BACKBONE, progress=False).path
        folder.rename(folder.with_name(f".building-{folder.name}-killed"))
        found = []

        def open_one():
            found.append(FeatureStore(world, BACKBONE, progress=False).path)

        threads = [threading.Thread(target=open_one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [folder] * 2 and len(filled) == 2
        assert list(folder.parent.iterdir()) == [folder]


def test_a_disk_that_fills_up_is_an_error_and_no_crash(tmp_path, capsys):
    resource = pytest.importorskip("resource")
    with made_home(tmp_path, images=20) as world:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            with pytest.raises(CstlibError, match="GB are needed") as error:
                FeatureStore(world, BACKBONE, progress=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert is_one_sentence(error.value)
        assert not list(cache_home().glob("features/*"))


def test_a_table_that_is_deleted_at_the_wrong_moment_is_made_again(
    tmp_path, monkeypatch
):
    with made_home(tmp_path, images=20) as world:
        folder = FeatureStore(world, BACKBONE, progress=False).path
        load, loads = np.load, []

        def interrupted_load(path, **options):
            if not loads:
                shutil.rmtree(folder)
            loads.append(path)
            return load(path, **options)

        monkeypatch.setattr(np, "load", interrupted_load)
        again = FeatureStore(world, BACKBONE, progress=False)
        assert again.path == folder and len(loads) == 2
        name = min(listed_images(world))
        assert again.attention([name]).attn_k.isfinite().all()


def test_a_broken_image_leaves_nothing_behind(tmp_path):
    with made_home(tmp_path, images=22) as world:
        name = sorted(listed_images(world))[3]
        path = world.root / "JPEGImages" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(CstlibError, match=name) as error:
            FeatureStore(world, BACKBONE, progress=False)
        assert is_one_sentence(error.value)
        assert not list(cache_home().glob("features/*"))


def test_a_control_comes_at_the_size_of_the_images(world):
    larger = replace(world, image_size=112)
    control = FeatureStore(larger, BACKBONE, progress=False, layers=False)
    assert (control.name, control.image_size) == ("random-thin", 112)
    names = larger.dataset(0, "val").names[:2]
    assert control.attention(names).attn_k.shape == (2, 6, 1 + 14 * 14, 16)


def test_what_cannot_be_is_said_in_one_sentence(world, tmp_path, monkeypatch):
    store = FeatureStore(world, BACKBONE, progress=False)
    with pytest.raises(CstlibError, match="nobody") as unknown:
        store.tokens(["nobody"])
    with pytest.raises(CstlibError, match="no device") as no_device:
        Features(BACKBONE, lambda name: None, "abacus")
    larger = replace(world, image_size=112)
    with pytest.raises(CstlibError, match="112") as no_fit:
        open_features(larger, BACKBONE, progress=False)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "file"))
    with pytest.raises(CstlibError, match="CSTLIB_DATA") as no_folder:
        FeatureStore(world, BACKBONE, progress=False)
    for error in (unknown, no_device, no_fit, no_folder):
        assert is_one_sentence(error.value)
