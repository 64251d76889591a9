"""cstlib: the Classification-Segmentation Transformer (CST), to learn and to run.

One file for each idea, in the order of the paper: ``backbones`` (tokens of a frozen
ViT), ``pseudo_masks`` (equations 9-11), ``correlation`` (1-2), ``cst`` (3-8), then
``supervision``, ``training``, ``evaluation`` and ``metrics``.
"""

__version__ = "0.1.0"
