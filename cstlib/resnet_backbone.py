"""A frozen ResNet as a backbone: 13 maps in place of a ViT's 12 layers of tokens.

HSNet and ASNet read a ResNet50 so, and the paper's Tables 4, 5, 6, 8, a.4 and a.6
compare CST on ViTs with CST on ResNets.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from cstlib.backbone_specs import BackboneSpec
from cstlib.backbones import Backbone, Tokens


class ResNetBackbone(Backbone):
    """Tokens from the bottlenecks of stages 2 to 4, before each one's last ReLU.

    For ResNet50 at 400 x 400 pixels: 4 maps of 50 x 50 with 512 channels, 6 of 25 x 25
    with 1,024 and 3 of 13 x 13 with 2,048. A map is not split: M = 1.

    Class tokens. A ResNet has none; the paper pools maps instead (appendix, Table
    a.4). Tokens are compared within a map, so each map's "class token" is its own
    global average.

    Queries and keys. Pseudo-masks come from the last map (section 4.4, Table 6): its
    tokens are the keys, and the query is *minus* its global average, because the
    paper finds that "the inverse correlation better captures foreground objects". It
    says neither how to invert nor where to cut then: the negative cosine goes through
    equations 9-11 as it is, with their threshold of 0.4.

    Attributes:
        patch_size: pixels to a token of the finest map.
        network: timm's ResNet.
    """

    def __init__(
        self, name: str, network: ResNet, spec: BackboneSpec, threshold: float
    ) -> None:
        nn.Module.__init__(self)
        self.name = name
        self.image_size = spec.image_size
        self.patch_size = 8
        self.threshold = self.output_threshold = threshold
        self.network = network.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tokens:
        """Tokens of B x 3 x S x S images with values in [0, 1]; errors as in a ViT."""
        self._check(images)
        maps: list[Tensor] = []

        def keep(relu: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            maps.append(inputs[0].clone())  # the ReLU works in place

        network: Any = self.network
        stages = (network.layer2, network.layer3, network.layer4)
        bottlenecks = [bottleneck for stage in stages for bottleneck in stage]
        hooks = [b.act3.register_forward_pre_hook(keep) for b in bottlenecks]
        try:
            self.network.forward_features((images - self.mean) / self.std)
        finally:
            for hook in hooks:
                hook.remove()
        patches = [x.flatten(2).mT.contiguous() for x in maps]  # B x h w x C
        cls = [tokens.mean(dim=1) for tokens in patches]  # B x C
        last = torch.cat([cls[-1][:, None], patches[-1]], dim=1)[:, None]
        return Tokens(
            cls=cls,
            patches=patches,
            grids=[(x.shape[2], x.shape[3]) for x in maps],
            heads=1,
            attn_q=-last,  # B x 1 x (1+N) x C
            attn_k=last,
        )
