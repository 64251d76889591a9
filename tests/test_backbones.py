"""Frozen backbones: what they return, and which weights may stand under which name."""

from __future__ import annotations

import json
import shutil

import pytest
import timm
import torch
from made_tokens import made_tokens
from numpy.random import RandomState
from safetensors.torch import save_file

from cstlib import backbone_weights, backbones
from cstlib.backbone_weights import random_weights
from cstlib.backbones import Tokens, load_backbone, mini_vit
from cstlib.errors import CstlibError
from cstlib.files import sha256
from cstlib.pseudo_masks import attention_map
from cstlib.shipped_learners import SHIPPED, open_learner


@pytest.fixture(scope="module")
def random_mini():
    return load_backbone("random-mini")


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    """No shipped weights, no data home, no hub cache, no network."""

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(backbone_weights, "WEIGHTS", tmp_path / "shipped")
    monkeypatch.setattr(backbones, "WEIGHTS", tmp_path / "shipped")
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(backbone_weights, "try_to_load_from_cache", lambda *a: None)
    monkeypatch.setattr(backbone_weights.socket, "getaddrinfo", offline)
    for proxy in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    (tmp_path / "shipped").mkdir()
    (tmp_path / "home" / "weights").mkdir(parents=True)
    return tmp_path


def made_images(count: int = 2, size: int = 96) -> torch.Tensor:
    shape = (count, 3, size, size)
    return torch.from_numpy(RandomState(0).uniform(size=shape)).float()


def test_mini_vit_gives_the_published_number_of_channels():
    vit = mini_vit()
    assert len(vit.blocks) * vit.blocks[0].attn.num_heads == 72
    assert vit.patch_embed.grid_size == (12, 12)
    assert sum(p.numel() for p in vit.parameters()) == 1_374_816
    assert mini_vit(multi_size=True)(made_images(1, 32)).shape == (1, 96)


def test_tokens_block_by_block(random_mini):
    """Against a walk through timm's blocks by hand."""
    images = made_images()
    tokens = random_mini(images)
    vit = random_mini.vit
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = vit.patch_embed((images - mean) / std)  # 2 x 144 x 96
    x = torch.cat([vit.cls_token.expand(2, 1, 96), x], dim=1) + vit.pos_embed
    for layer, block in enumerate(vit.blocks):
        if layer == 11:
            qkv = block.attn.qkv(block.norm1(x)).view(2, 145, 3, 6, 16)
        x = block(x)
        normed = torch.nn.functional.layer_norm(
            x, (96,), vit.norm.weight, vit.norm.bias, 1e-6
        )
        torch.testing.assert_close(tokens.cls[layer], normed[:, 0])
        torch.testing.assert_close(tokens.patches[layer], normed[:, 1:])
    # The miniature gives all queries and keys a mean square of 1/2.
    unit = qkv[:, :, :2] / (2 * qkv[:, :, :2].square().mean(-1, keepdim=True)).sqrt()
    torch.testing.assert_close(tokens.attn_q, unit[:, :, 0].transpose(1, 2))
    torch.testing.assert_close(tokens.attn_k, unit[:, :, 1].transpose(1, 2))
    assert tokens.grids == [(12, 12)] * 12 and tokens.heads == 6
    assert tokens.batch_size == 2


def test_a_backbone_is_frozen(random_mini):
    assert not any(p.requires_grad for p in random_mini.parameters())
    outer = torch.nn.Sequential(random_mini).train()
    assert outer.training and not random_mini.training and not random_mini.vit.training
    assert not random_mini(made_images()).patches[-1].requires_grad


def test_loading_leaves_everybodys_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_backbone("random-mini")
    assert torch.equal(torch.get_rng_state(), before)


def test_random_mini_is_the_same_everywhere(random_mini):
    state = random_mini.vit.state_dict()
    for found, wanted in [
        (state["blocks.3.attn.qkv.weight"][7, :3], [0.048525, 0.124373, -0.093508]),
        (state["patch_embed.proj.weight"][1, 2, 3, :3], [0.033495, 0.125299, 0.017851]),
        (state["pos_embed"][0, 5, :3], [-0.023446, 0.009558, -0.004289]),
        (state["norm.weight"][:2], [1.0, 1.0]),
        (state["norm.bias"][:2], [0.0, 0.0]),
    ]:
        torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-6, rtol=0)
    assert random_mini.threshold == 0.4
    assert (random_mini.name, random_mini.image_size) == ("random-mini", 96)
    assert random_mini.patch_size == 8


def test_images_of_a_batch_do_not_see_each_other(random_mini):
    images = made_images(3)
    tokens = random_mini(images)
    torch.testing.assert_close(
        random_mini(images[[2]]).patches[-1], tokens.patches[-1][[2]]
    )


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 96, 96), (1, 1, 96, 96)])
def test_images_of_another_size_end_in_one_sentence(random_mini, shape):
    with pytest.raises(CstlibError, match="B x 3 x 96 x 96.*resize"):
        random_mini(torch.zeros(shape))


class TestTokens:
    def test_indexing_keeps_the_batch_axis(self):
        tokens = made_tokens(1, batch=3)
        for index, rows in [
            (1, [1]),
            (-1, [2]),
            (slice(1, None), [1, 2]),
            ([2, 0, 0], [2, 0, 0]),
            (torch.tensor([True, False, True]), [0, 2]),
        ]:
            chosen = tokens[index]
            assert chosen.batch_size == len(rows)
            assert torch.equal(chosen.cls[1], tokens.cls[1][rows])
            assert torch.equal(chosen.patches[2], tokens.patches[2][rows])
            assert torch.equal(chosen.attn_q, tokens.attn_q[rows])
            assert torch.equal(chosen.attn_k, tokens.attn_k[rows])
            assert (chosen.grids, chosen.heads) == (tokens.grids, tokens.heads)

    def test_a_for_loop_ends(self):
        assert [one.batch_size for one in made_tokens(2, batch=3)] == [1, 1, 1]
        with pytest.raises(IndexError):
            made_tokens(2, batch=3)[3]

    def test_cat_joins_what_indexing_parted(self):
        tokens = made_tokens(3, batch=3)
        joined = Tokens.cat(one for one in tokens)
        assert torch.equal(joined.patches[0], tokens.patches[0])
        assert torch.equal(joined.attn_k, tokens.attn_k)

    def test_to(self):
        half = made_tokens(4).to(torch.float16)
        assert half.cls[0].dtype == half.attn_k.dtype == torch.float16


class TestMiniFamily:
    def ship(self, folder, name="dino-mini", seed=5, **notes):
        """Half-precision weights and their JSON, as pre-training leaves them."""
        path = folder / "shipped" / f"{name}.safetensors"
        state = random_weights(mini_vit(), seed)
        save_file({k: v.half() for k, v in state.items()}, path)
        notes = {"sha256": sha256(path), "threshold": 0.57, **notes}
        path.with_suffix(".json").write_text(json.dumps(notes), encoding="utf-8")
        return path, state

    def test_weights_and_threshold_come_from_the_files(self, empty_machine):
        _, state = self.ship(empty_machine)
        backbone = load_backbone("dino-mini")
        assert backbone.threshold == 0.57
        for name, tensor in backbone.vit.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, state[name].half().float())

    @pytest.mark.parametrize("name", ["dino-mini", "supervised-mini"])
    def test_random_weights_never_stand_in(self, empty_machine, name):
        with pytest.raises(CstlibError, match=f"weights of {name} .* missing: .*make"):
            load_backbone(name)

    @pytest.mark.parametrize("notes", [{"sha256": "0" * 64}, None])
    def test_the_hash_is_checked(self, empty_machine, notes):
        path, _ = self.ship(empty_machine, **(notes or {}))
        if notes is None:
            path.with_suffix(".json").write_text("{}", encoding="utf-8")
        with pytest.raises(CstlibError, match="SHA-256 differs|are missing"):
            load_backbone("dino-mini")

    def test_a_damaged_json(self, empty_machine):
        path, _ = self.ship(empty_machine)
        path.with_suffix(".json").write_text("{", encoding="utf-8")
        with pytest.raises(CstlibError, match="not JSON"):
            load_backbone("dino-mini")

    def test_random_mini_needs_no_file_but_heeds_a_threshold(self, empty_machine):
        assert load_backbone("random-mini").threshold == 0.4
        notes = empty_machine / "shipped" / "random-mini.json"
        notes.write_text('{"threshold": 0.5}', encoding="utf-8")
        assert load_backbone("random-mini").threshold == 0.5

    def test_what_the_package_ships(self):
        """Whatever lies in cstlib/weights loads, and is not the random twin."""
        shipped = sorted(backbone_weights.WEIGHTS.glob("*-mini.safetensors"))
        assert {"dino-mini", "supervised-mini", *SHIPPED} == {p.stem for p in shipped}
        for path in shipped:
            if path.stem in SHIPPED:
                assert open_learner(path.stem).in_channels == 72
                continue
            backbone = load_backbone(path.stem)
            notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            assert backbone.threshold == notes["threshold"]
            assert all(p.isfinite().all() for p in backbone(made_images()).patches)


@pytest.fixture(scope="module")
def dino_file(tmp_path_factory):
    """A file as DINO publishes it: trained at 224 pixels, heads and prefixes."""
    path = tmp_path_factory.mktemp("dino") / "dino_deitsmall8_pretrain.pth"
    with torch.device("meta"):
        vit = timm.create_model("vit_small_patch8_224.dino", num_classes=0)
    state = random_weights(vit)
    assert sum(t.numel() for t in state.values()) == 21_670_272
    torch.save(state, path)
    return path, state


class TestVits8:
    """dino-vits8's own path, with random numbers in place of DINO's weights."""

    def test_at_400_pixels(self, dino_file):
        path, state = dino_file
        backbone = load_backbone("dino-vits8", weights=path)
        assert (backbone.image_size, backbone.patch_size) == (400, 8)
        assert backbone.threshold == 0.4
        loaded = backbone.vit.state_dict()
        for name in state.keys() - {"pos_embed"}:
            assert torch.equal(loaded[name], state[name]), name
        assert loaded["pos_embed"].shape == (1, 2501, 384)
        tokens = backbone(made_images(1, 400))
        assert len(tokens.cls) == 12 and tokens.heads == 6
        assert tokens.grids[0] == (50, 50)
        assert tokens.patches[0].shape == (1, 2500, 384)
        assert tokens.attn_k.shape == tokens.attn_q.shape == (1, 6, 2501, 64)

    def test_a_file_in_the_data_home_is_found(self, dino_file, empty_machine):
        place = empty_machine / "home" / "weights" / "dino-vits8.pth"
        shutil.copyfile(dino_file[0], place)
        backbone = load_backbone("dino-vits8")
        assert torch.equal(backbone.vit.cls_token, dino_file[1]["cls_token"])

    @pytest.mark.parametrize("name", ["dino-vits8", "dino-vits16", "dino-vits8-300ep"])
    def test_offline_ends_in_one_sentence(self, name, empty_machine):
        with pytest.raises(CstlibError) as caught:
            load_backbone(name)
        sentence = str(caught.value)
        assert name in sentence and "\n" not in sentence
        assert str(empty_machine / "home" / "weights" / name) in sentence
        assert "network" in sentence or "fetch https://" in sentence


def test_mini_attention_weighs_by_cosine_alone():
    """Equation (9) and the softmax rank the same patches first, whatever the lengths."""
    backbone = load_backbone("random-mini")
    tokens = backbone(torch.rand(2, 3, 96, 96))
    d = tokens.attn_q.shape[-1]
    for vectors in (tokens.attn_q, tokens.attn_k):
        assert torch.allclose(vectors.square().mean(-1), torch.tensor(0.5), atol=1e-3)
    scores = tokens.attn_q[:, :, :1] @ tokens.attn_k[:, :, 1:].mT / d**0.5
    cosines = attention_map(tokens, tokens)
    assert torch.allclose(scores.squeeze(2), d**0.5 / 2 * cosines, atol=1e-4)
