"""Checkpoints: whole or not at all, and never of the wrong kind."""

from __future__ import annotations

import os

import pytest
import torch
from plain_cst import authors_shapes, made_input, made_weights, plain_cst

from cstlib.checkpoints import (
    load_authors_checkpoint,
    load_checkpoint,
    load_learner_weights,
    save_checkpoint,
    to_authors_names,
)
from cstlib.cst import CST
from cstlib.errors import CstlibError


def lightning_file(path, weights):
    """A file in the authors' layout, backbone and bookkeeping included."""
    state = {f"learner.{name}": tensor for name, tensor in weights.items()}
    state["backbone.cls_token"] = torch.zeros(1, 1, 384)
    state["backbone.blocks.0.attn.qkv.weight"] = torch.zeros(3, 3)
    torch.save(
        {"epoch": 7, "global_step": 99, "state_dict": state, "lr_schedulers": []}, path
    )
    return path


def test_what_is_saved_comes_back(tmp_path):
    learner = CST(12)
    optimizer = torch.optim.Adam(learner.parameters(), 1e-3)
    sum(p.sum() for p in learner.parameters()).backward()
    optimizer.step()
    path = tmp_path / "deep" / "last.pt"
    save_checkpoint(
        path,
        learner=learner.state_dict(),
        config={"fold": 0, "lam": 0.1},
        optimizer=optimizer.state_dict(),
        rng=torch.get_rng_state(),
    )
    found = load_checkpoint(path)
    assert found["config"] == {"fold": 0, "lam": 0.1}
    assert torch.equal(found["rng"], torch.get_rng_state())
    other = CST(12)
    load_learner_weights(other, found["learner"], path)
    for a, b in zip(learner.parameters(), other.parameters()):
        assert torch.equal(a, b)
    again = torch.optim.Adam(other.parameters(), 1e-3)
    again.load_state_dict(found["optimizer"])
    state, restored = optimizer.state_dict()["state"], again.state_dict()["state"]
    assert all(torch.equal(state[i]["exp_avg"], restored[i]["exp_avg"]) for i in state)


def test_a_failing_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, learner={}, config={"episode": 1})

    class Unpicklable:
        def __reduce__(self):
            raise RuntimeError("no disk")

    with pytest.raises(CstlibError, match="Cannot write"):
        save_checkpoint(path, learner={}, config=Unpicklable())
    assert load_checkpoint(path)["config"] == {"episode": 1}
    assert os.listdir(tmp_path) == ["last.pt"]


def test_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(CstlibError, match="Cannot write to the folder"):
        save_checkpoint(tmp_path / "file" / "last.pt", learner={})


@pytest.mark.parametrize("load", [load_checkpoint, load_authors_checkpoint])
class TestUnfitFiles:
    def test_missing(self, load, tmp_path):
        with pytest.raises(CstlibError, match="no checkpoint"):
            load(tmp_path / "none.pt")

    def test_truncated(self, load, tmp_path):
        path = tmp_path / "half.pt"
        save_checkpoint(path, learner=CST(12).state_dict())
        path.write_bytes(path.read_bytes()[:20_000])
        with pytest.raises(CstlibError, match="damaged"):
            load(path)

    @pytest.mark.parametrize("content", [b"", b"no torch file at all"])
    def test_another_kind_of_file(self, load, content, tmp_path):
        path = tmp_path / "text.pt"
        path.write_bytes(content)
        with pytest.raises(CstlibError, match="damaged or of another kind"):
            load(path)

    @pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {"state_dict": 3}])
    def test_another_torch_file(self, load, content, tmp_path):
        path = tmp_path / "other.pt"
        torch.save(content, path)
        with pytest.raises(CstlibError, match="not a checkpoint|no learner"):
            load(path)

    def test_code_in_a_file_is_not_run(self, load, tmp_path):
        class Malicious:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "executed"),)

        path = tmp_path / "bad.pt"
        torch.save({"learner": Malicious()}, path)
        with pytest.raises(CstlibError, match="damaged or of another kind"):
            load(path)
        assert not (tmp_path / "executed").exists()


def test_another_number_of_channels_is_one_sentence(tmp_path):
    path = tmp_path / "single-head.pt"
    save_checkpoint(path, learner=CST(12).state_dict())
    with pytest.raises(CstlibError, match="channels.*32 x 12.*32 x 72"):
        load_learner_weights(CST(72), load_checkpoint(path)["learner"], path)


def test_another_kind_of_learner_is_one_sentence():
    with pytest.raises(CstlibError, match="another kind of learner"):
        load_learner_weights(CST(), torch.nn.Linear(2, 2).state_dict(), "somewhere")


@pytest.mark.parametrize("channels", [12, 72])
def test_the_authors_layout(channels, tmp_path):
    weights = made_weights(21, channels)
    path = lightning_file(tmp_path / "best.ckpt", weights)
    learner = load_authors_checkpoint(path)
    assert learner.in_channels == channels and not learner.training
    correlation, mask = made_input(22, 1, (5, 5), channels)
    with torch.no_grad():
        found = learner(correlation, mask)
    for ours, plain in zip(found, plain_cst(weights, correlation, mask, (5, 5))):
        torch.testing.assert_close(ours.double(), plain, atol=1e-4, rtol=0)


def test_names_go_there_and_back():
    named = to_authors_names(CST().state_dict())
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    assert shapes == {f"learner.{n}": s for n, s in authors_shapes().items()}


def test_authors_file_for_other_channels(tmp_path):
    path = lightning_file(tmp_path / "best.ckpt", made_weights(23, 12))
    assert load_authors_checkpoint(path, in_channels=12).in_channels == 12
    with pytest.raises(CstlibError, match="takes 12 correlation channels, not 72"):
        load_authors_checkpoint(path, in_channels=72)


@pytest.mark.parametrize("change", ["lacks", "extra"])
def test_authors_file_must_be_complete(change, tmp_path):
    weights = made_weights(24, 12)
    if change == "lacks":
        del weights["linear.3.bias"]
    else:
        weights["linear.6.bias"] = torch.zeros(128)
    path = lightning_file(tmp_path / "best.ckpt", weights)
    with pytest.raises(CstlibError, match="another kind of learner"):
        load_authors_checkpoint(path)


def test_head_major_weights_are_moved_to_layer_major(tmp_path):
    """The same learner, whichever of the two orders its channels were trained in."""
    layers, heads = 3, 4
    weights = made_weights(25, layers * heads)
    path = lightning_file(tmp_path / "best.ckpt", weights)
    straight = load_authors_checkpoint(path)
    moved = load_authors_checkpoint(path, channel_order="head-major", heads=heads)
    by_head, _ = made_input(26, 1, (3, 3), layers * heads)
    by_layer = torch.empty_like(by_head)
    for layer in range(layers):
        for head in range(heads):
            by_layer[:, layer * heads + head] = by_head[:, head * layers + layer]
    with torch.no_grad():
        for a, b in zip(straight(by_head), moved(by_layer)):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(straight(by_layer)[1], moved(by_layer)[1])


def test_unknown_channel_order(tmp_path):
    path = lightning_file(tmp_path / "best.ckpt", made_weights(27, 12))
    with pytest.raises(CstlibError, match="choose layer-major or head-major"):
        load_authors_checkpoint(path, channel_order="alphabetical")
    with pytest.raises(CstlibError, match="not those of 5 heads"):
        load_authors_checkpoint(path, channel_order="head-major", heads=5)
