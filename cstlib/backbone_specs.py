"""The list of backbones: which network, whose weights, under what licence.

One entry each; to add a backbone, add an entry. Figures of the paper name theirs:
the main results use ``dino-vits8-300ep``; Tables 6 and a.6 ``dino-resnet50``,
``dino-vitb16`` and ``mae-vitb16``; Table a.4 ``resnet50``. The class-supervised ViT
of Table a.3 is not public: a ViT-S/8 trained on class labels cannot be had, so
``deit-small16`` and ``vit-small16-augreg`` stand in, to be compared with
``dino-vits16``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class BackboneSpec:
    """An entry of `BACKBONES`: which network, and where its weights come from.

    Attributes:
        source: "package" (a file in ``cstlib/weights``, with its SHA-256), "seed"
            (random numbers), "hub" (timm's repository of that architecture) or the
            address of a file.
        architecture: timm's name; empty for the miniature's own ViT.
        image_size: S, in pixels; position embeddings are interpolated to it.
        threshold: of the pseudo-masks, where the weights' JSON names none.
        mean, std: of the RGB values in [0, 1], which the backbone normalises by.
        megabytes: of the file to fetch, 10^6 bytes each; 0 if nothing is fetched.
        sha256: of that very file; empty where its makers publish none that we know.
        licence: of the weights, by its SPDX name.
        convolutional: a ResNet, whose maps differ, instead of a ViT.
        width: C of a token, where it is not the architecture's own.
    """

    source: str
    architecture: str = ""
    image_size: int = 96
    threshold: float = 0.4
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    megabytes: float = 0
    sha256: str = ""
    licence: str = "MIT"
    convolutional: bool = False
    width: int = 0


def _at_400(source: str, architecture: str, megabytes: float, **others) -> BackboneSpec:
    """An entry of the paper's size; DINO's licence unless ``others`` name another."""
    spec = BackboneSpec(source, architecture, 400, megabytes=megabytes)
    return replace(spec, **{"licence": "Apache-2.0", **others})


_DINO = "https://dl.fbaipublicfiles.com/dino"

BACKBONES: dict[str, BackboneSpec] = {
    "dino-mini": BackboneSpec("package"),
    "supervised-mini": BackboneSpec("package"),
    "random-mini": BackboneSpec("seed"),
    # ViT-S/8 with random weights: what "random-mini" is to the miniature.
    "random-vits8": BackboneSpec("seed", "vit_small_patch8_224.dino", 400),
    # The same on small pictures and with thin tokens: to try things out at its shapes
    # (72 channels, a grid that is resized for the support) in a hundredth of its time.
    "random-thin": BackboneSpec("seed", "vit_small_patch8_224.dino", 112, width=96),
    "dino-vits8": _at_400(
        "hub",
        "vit_small_patch8_224.dino",
        86.7,
        sha256="e1b79616ce6d1b8dc3cc0d5952b6d0958356a189122882493e665d28f20654a0",
    ),
    # The weights behind the paper's numbers, an earlier state of dino-vits8's.
    "dino-vits8-300ep": _at_400(
        f"{_DINO}/dino_deitsmall8_300ep_pretrain/dino_deitsmall8_300ep_pretrain.pth",
        "vit_small_patch8_224.dino",
        86.7,
    ),
    "dino-vits16": _at_400("hub", "vit_small_patch16_224.dino", 86.7),
    "dino-vitb8": _at_400(
        "hub",
        "vit_base_patch8_224.dino",
        343,
        sha256="01be14b99784a4c0970a5703214513588daf27014e908ac7ea08967b7bd80f5f",
    ),
    "dino-vitb16": _at_400(
        "hub",
        "vit_base_patch16_224.dino",
        343,
        sha256="93181583427d6de3e18ab0e6ee4df35736cfc51a3c1bf9ae0e9b53b1316598dc",
    ),
    "deit-small16": _at_400("hub", "deit_small_patch16_224.fb_in1k", 88.2),
    "vit-small16-augreg": _at_400(
        "hub", "vit_small_patch16_224.augreg_in1k", 88.2, mean=HALF, std=HALF
    ),
    "mae-vitb16": _at_400(
        "hub", "vit_base_patch16_224.mae", 343, licence="CC-BY-NC-4.0"
    ),
    "resnet50": _at_400(
        "hub",
        "resnet50.tv_in1k",
        102,
        sha256="5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
        licence="BSD-3-Clause",
        convolutional=True,
    ),
    "dino-resnet50": _at_400(
        f"{_DINO}/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        "resnet50.tv_in1k",
        94,
        convolutional=True,
    ),
}


def at_size(name: str, image_size: int) -> str:
    """The backbone to take for ``name`` where images have another size than its own.

    Random weights are a control, and any will do: those of the size wanted stand in.
    Others stand for themselves.
    """
    if BACKBONES[name].source != "seed" or BACKBONES[name].image_size == image_size:
        return name
    fitting = (
        other
        for other, spec in BACKBONES.items()
        if (spec.source, spec.image_size) == ("seed", image_size)
    )
    return next(fitting, name)
