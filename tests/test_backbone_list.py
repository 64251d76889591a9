"""The list of backbones: every entry builds, ResNets give 13 maps, files are fetched."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from made import is_one_sentence
from numpy.random import RandomState
from safetensors.torch import save_file

from cstlib import backbone_weights
from cstlib.backbone_specs import at_size
from cstlib.backbone_weights import random_weights
from cstlib.backbones import BACKBONES, BackboneSpec, build_network, load_backbone
from cstlib.correlation import correlate
from cstlib.cst import CST
from cstlib.errors import CstlibError
from cstlib.features import Features
from cstlib.pseudo_masks import pseudo_mask

AT_400 = [
    name
    for name, spec in BACKBONES.items()
    if spec.image_size == 400 and spec.source != "seed"
]


@pytest.mark.parametrize("name", AT_400)
def test_an_entry_says_what_is_fetched(name):
    spec = BACKBONES[name]
    network = build_network(spec)
    size = {} if spec.convolutional else {"img_size": 224}
    with torch.device("meta"):
        trained = timm.create_model(spec.architecture, num_classes=0, **size)
    bytes_at_least = 4 * sum(p.numel() for p in trained.parameters())
    # Heads and batch norm's statistics come on top, and there are few.
    assert 0.99 < 1e6 * spec.megabytes / bytes_at_least < 1.10
    assert spec.sha256 == "" or len(bytes.fromhex(spec.sha256)) == 32
    assert spec.licence in ("Apache-2.0", "BSD-3-Clause", "CC-BY-NC-4.0")
    published = timm.get_pretrained_cfg(spec.architecture)
    assert (spec.mean, spec.std) == (published.mean, published.std)
    assert spec.licence.lower() == published.license or spec.source != "hub"
    if not spec.convolutional:
        side = 25 if "16" in name else 50
        assert network.patch_embed.grid_size == (side, side)
        channels = len(network.blocks) * network.blocks[0].attn.num_heads
        assert channels == (144 if "vitb" in name else 72)


def test_the_papers_backbones_are_all_there():
    assert set(AT_400) == {
        *("dino-vits8", "dino-vits8-300ep", "dino-vits16", "dino-vitb8"),
        *("dino-vitb16", "deit-small16", "vit-small16-augreg", "mae-vitb16"),
        *("resnet50", "dino-resnet50"),
    }
    with_dinos_own_host = [
        n for n in AT_400 if "fbaipublicfiles" in BACKBONES[n].source
    ]
    assert with_dinos_own_host == ["dino-vits8-300ep", "dino-resnet50"]


@pytest.mark.parametrize("name", ["random-vits8", "random-thin"])
def test_random_twins_have_the_shapes_of_vit_s8(name):
    network = build_network(BACKBONES[name])
    wanted = build_network(BACKBONES["dino-vits8"])
    assert network.state_dict().keys() == wanted.state_dict().keys()
    assert len(network.blocks) * network.blocks[0].attn.num_heads == 72
    if name == "random-vits8":
        assert network.pos_embed.shape == wanted.pos_embed.shape


def test_a_control_is_taken_at_the_size_of_the_images():
    sizes = {size: at_size("random-mini", size) for size in (96, 112, 400)}
    assert sizes == {96: "random-mini", 112: "random-thin", 400: "random-vits8"}
    assert at_size("random-mini", 72) == "random-mini"  # none fits
    assert at_size("dino-vits8", 96) == "dino-vits8"  # knowledge has no stand-in


def made_resnet_state() -> dict[str, torch.Tensor]:
    """A torchvision ResNet50's state, every number of it made, classifier included."""
    state, random = {}, RandomState(4)
    for name, tensor in torchvision.models.resnet50().state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif len(shape) > 1:
            r = random.standard_normal(shape) / tensor[0].numel() ** 0.5
            state[name] = torch.from_numpy(r).float()
        elif name.endswith(("weight", "running_var")):
            state[name] = torch.from_numpy(random.uniform(0.5, 1.5, shape)).float()
        else:
            state[name] = torch.from_numpy(0.2 * random.standard_normal(shape)).float()
    return state


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """dino-resnet50 with made weights, an image, and torchvision's own network."""
    state = made_resnet_state()
    path = tmp_path_factory.mktemp("resnet") / "dino_resnet50_pretrain.pth"
    # DINO's file has no classifier; older files of torchvision's have no counters.
    bare = {n: x for n, x in state.items() if not n.startswith("fc.")}
    torch.save({n: x for n, x in bare.items() if "num_batches" not in n}, path)
    theirs = torchvision.models.resnet50()
    theirs.load_state_dict(state)
    image = torch.from_numpy(RandomState(5).uniform(size=(2, 3, 400, 400))).float()
    backbone = load_backbone("dino-resnet50", path)
    return SimpleNamespace(
        backbone=backbone, theirs=theirs.eval(), image=image, state=state, path=path
    )


@torch.no_grad()
def test_resnet_maps_from_torchvisions_own_network(resnet):
    """Every bottleneck of stages 2-4, in order, before its last ReLU."""
    tokens = resnet.backbone(resnet.image)
    assert tokens.grids == [(50, 50)] * 4 + [(25, 25)] * 6 + [(13, 13)] * 3
    assert tokens.heads == 1 and len(tokens.cls) == 13
    net = resnet.theirs
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = net.maxpool(net.bn1(net.conv1((resnet.image - mean) / std)).relu())
    x = net.layer1(x)
    number = 0
    for block in (*net.layer2, *net.layer3, *net.layer4):
        out = block.bn1(block.conv1(x)).relu()
        out = block.bn3(block.conv3(block.bn2(block.conv2(out)).relu()))
        out = out + (block.downsample(x) if block.downsample else x)
        patches = tokens.patches[number]
        torch.testing.assert_close(
            patches.mT.unflatten(2, tokens.grids[number]), out, atol=1e-4, rtol=1e-4
        )
        assert patches.min() < 0
        torch.testing.assert_close(
            tokens.cls[number], out.mean((2, 3)), atol=1e-4, rtol=1e-4
        )
        x, number = out.relu(), number + 1
    assert number == 13


def test_a_resnet_goes_all_the_way(resnet):
    """Correlation, pseudo-mask and learner take its 13 unequal maps."""
    images = dict(zip("ab", resnet.image))
    features = Features(resnet.backbone, images.__getitem__, "cpu")
    assert (features.channels, features.grid) == (13, (50, 50))
    query, support = features.tokens(["a"]), features.tokens(["b"])
    mask = pseudo_mask(query, support, (400, 400))
    # The inverse correlation: foreground is what is *unlike* the pooled map.
    cosine = torch.nn.functional.cosine_similarity(
        query.patches[-1], support.cls[-1][:, None], dim=2
    ).view(1, 1, 13, 13)
    cosine = torch.nn.functional.interpolate(
        cosine, (400, 400), mode="bilinear", align_corners=True
    )[:, 0]
    assert ((cosine < 0.2) == mask).float().mean() > 0.999
    correlation = correlate(query, support)
    assert correlation.shape == (1, 13, 2500, 145)
    assert correlation.abs().max() <= 1 + 1e-5
    with torch.no_grad():
        class_logits, maps = CST(13)(correlation, mask, features.grid)
    assert class_logits.shape == (1, 2) and maps.shape == (1, 2, 100, 100)


def test_a_resnet_is_loaded_strictly(resnet, tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save(resnet.state, path)  # torchvision's own, with classifier and counters
    tokens = load_backbone("resnet50", path)(resnet.image)
    torch.testing.assert_close(
        tokens.patches[-1], resnet.backbone(resnet.image).patches[-1]
    )
    lacking = {n: x for n, x in resnet.state.items() if n != "layer3.2.bn2.running_var"}
    torch.save(lacking, path)
    for name in ("resnet50", "dino-vits8"):
        with pytest.raises(CstlibError, match="weights of another network") as caught:
            load_backbone(name, path)
        assert is_one_sentence(caught.value)


def test_a_random_resnet_is_finite():
    spec = BACKBONES["resnet50"]
    with torch.device("meta"):
        network = timm.create_model("resnet50.tv_in1k", num_classes=0)
    state = random_weights(network)
    assert not any(name.endswith("num_batches_tracked") for name in state)
    backbone_weights.load_vit_weights(network, state, "made")
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 64, 64)).isfinite().all()
    assert spec.convolutional


class TestFetching:
    """A file of an address comes through a server on this machine."""

    @pytest.fixture
    def served(self, tmp_path, monkeypatch):
        """An entry whose file a local server offers; ``served.body`` is what it says."""
        with torch.device("meta"):
            vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
        buffer = io.BytesIO()
        torch.save(random_weights(vit, 3), buffer)
        served = SimpleNamespace(body=buffer.getvalue(), whole=buffer.getvalue())
        served.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                served.asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(served.whole)))
                self.end_headers()
                self.wfile.write(served.body)

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("CSTLIB_DATA", str(tmp_path))
        for proxy in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.delenv(proxy, raising=False)
        address = f"http://127.0.0.1:{server.server_port}/tiny.pth"
        served.spec = BackboneSpec(
            address,
            "vit_tiny_patch16_224",
            224,
            megabytes=22,
            sha256=hashlib.sha256(served.whole).hexdigest(),
        )
        monkeypatch.setitem(BACKBONES, "tiny", served.spec)
        served.place = tmp_path / "weights" / "tiny.pth"
        yield served
        server.shutdown()
        server.server_close()
        thread.join()

    def test_once(self, served):
        first = load_backbone("tiny")
        assert served.place.read_bytes() == served.whole
        again = load_backbone("tiny")
        assert served.asked == 1
        assert torch.equal(first.vit.cls_token, again.vit.cls_token)

    @pytest.mark.parametrize("part", [0.5, 0.0])
    def test_a_cut_connection_leaves_nothing(self, served, part):
        served.body = served.whole[: int(part * len(served.whole))]
        with pytest.raises(CstlibError) as caught:
            load_backbone("tiny")
        assert is_one_sentence(caught.value)
        assert str(served.place) in str(caught.value)
        assert not list(served.place.parent.iterdir())

    def test_another_file_is_refused(self, served, monkeypatch):
        monkeypatch.setitem(BACKBONES, "tiny", replace(served.spec, sha256="0" * 64))
        with pytest.raises(CstlibError, match="SHA-256 differs") as caught:
            load_backbone("tiny")
        assert is_one_sentence(caught.value)
        assert not list(served.place.parent.iterdir())

    def test_the_hubs_cache_is_checked_too(self, tmp_path, monkeypatch):
        path = tmp_path / "model.safetensors"
        save_file({"cls_token": torch.zeros(1, 1, 384)}, path)
        monkeypatch.setenv("CSTLIB_DATA", str(tmp_path))
        monkeypatch.setattr(
            backbone_weights, "try_to_load_from_cache", lambda *a: str(path)
        )
        with pytest.raises(CstlibError, match="SHA-256 differs"):
            load_backbone("dino-vits8")
        # No sum is known of this one: its tensors decide.
        with pytest.raises(CstlibError, match="another network"):
            load_backbone("mae-vitb16")


@pytest.mark.parametrize("name", AT_400)
def test_offline_names_the_file_and_its_place(name, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path))
    monkeypatch.setattr(backbone_weights, "try_to_load_from_cache", lambda *a: None)
    monkeypatch.setattr(backbone_weights.socket, "getaddrinfo", offline)
    for proxy in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    with pytest.raises(CstlibError) as caught:
        load_backbone(name)
    sentence = str(caught.value)
    assert is_one_sentence(sentence)
    assert f"{tmp_path / 'weights' / name}.pth" in sentence
    assert "fetch https://" in sentence
    assert not list((tmp_path).rglob("*.pth"))
