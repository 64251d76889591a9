"""cstlib: the Classification-Segmentation Transformer (CST), to learn and to run.

One file for each idea, in the order of the paper: ``backbones`` (tokens of a frozen
ViT), ``pseudo_masks`` (equations 9-11), ``correlation`` (1-2), ``cst`` (3-8), then
``supervision``, ``training``, ``evaluation`` and ``metrics``. `Predictor` applies them
to pictures of your own.
"""

__version__ = "0.1.0"
__all__ = ["Predictor"]


def __getattr__(name: str):
    """``cstlib.Predictor``, imported when asked for: ``--help`` need not wait."""
    if name == "Predictor":
        from cstlib.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
