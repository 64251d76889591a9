"""What the notebooks need of a machine, looked for without making any of it.

`cstlib.workshop` asks; nothing here is computed, written or fetched.
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from cstlib.check import INSTALL, Finding, look_at_packages, look_at_pair
from cstlib.errors import CstlibError

PREPARE = "python -m cstlib check --workshop --prepare"


class Missing(Exception):
    """Something that a notebook needs is not here; says what, and what to do."""


class Room:
    """What notebooks share on this machine, each looked for once, when first wanted.

    Every attribute is the thing itself or raises `Missing`; `need` remembers both.
    """

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}

    def need(self, name: str) -> Any:
        """The attribute of that name; what failed once is not tried again."""
        if name not in self._missing:
            try:
                return getattr(self, name)
            except Missing as missing:
                self._missing[name] = str(missing)
            except Exception as error:  # noqa: BLE001 - whatever a broken machine raises
                self._missing[name] = failed(name, error)
        raise Missing(self._missing[name])

    @cached_property
    def packages(self) -> bool:
        """Packages of the course, and torchvision beside the torch that it fits."""
        for finding in (*look_at_packages(), *look_at_pair()):
            if finding.blocks:
                raise Missing(_words(finding))
        return True

    @cached_property
    def kernel(self) -> bool:
        """A notebook's kernel starts and imports this copy of the course."""
        import nbformat

        from cstlib.notebook_kernel import execute
        from cstlib.paths import PACKAGE

        cell = nbformat.v4.new_code_cell("import cstlib; print(cstlib.__file__)")
        notebook = nbformat.v4.new_notebook(cells=[cell])
        with tempfile.TemporaryDirectory() as folder:
            try:
                execute(notebook, Path(folder) / "kernel.ipynb", timeout=60)
            except (CstlibError, RuntimeError) as error:
                raise Missing(f"a kernel that starts ({_last(error)}): {INSTALL}")
        said = "".join(output.get("text", "") for output in cell.outputs)
        found = Path(said.strip()).parent
        if found != PACKAGE:
            raise Missing(f"this copy of cstlib (kernels import {found}): {INSTALL}")
        return True

    @cached_property
    def world(self) -> Any:
        """The miniature, already drawn."""
        import json

        from cstlib.data.mini import RENDERER_VERSION
        from cstlib.paths import data_home
        from cstlib.worlds import load_world

        try:
            meta = json.loads((data_home() / "mini" / "meta.json").read_text("utf-8"))
            drawn = meta["renderer_version"] == RENDERER_VERSION
        except (OSError, ValueError, KeyError, TypeError):
            drawn = False
        if not drawn:
            raise Missing(f"the miniature's images: {PREPARE}")
        return load_world("mini")

    @cached_property
    def backbone(self) -> Any:
        """The miniature's backbone with its shipped weights."""
        from cstlib.backbones import load_backbone

        try:
            return load_backbone(self.world.backbone)
        except CstlibError as error:
            raise Missing(f"weights ({_last(error)})") from error

    @cached_property
    def features(self) -> Any:
        """Tokens of all images, already computed."""
        return _kept(self.world, self.backbone)

    @cached_property
    def random_attention(self) -> Any:
        """Queries and keys of the network with random weights, already computed."""
        from cstlib.backbones import load_backbone

        return _kept(self.world, load_backbone("random-mini"), layers=False)

    @cached_property
    def free_memory(self) -> float:
        """Gigabytes; infinite where that cannot be told."""
        try:
            import psutil
        except ImportError:
            return float("inf")
        return psutil.virtual_memory().available / 1e9

    @cached_property
    def pair(self) -> tuple[Any, Any, Any]:
        """An episode whose query shows the class, and tokens of its two images."""
        dataset = self.world.dataset(0, "val")
        plans = map(dataset.plan, range(100))
        plan = next(p for p in plans if dataset.presence(p).all())
        episode = dataset.load(plan)
        query = self.backbone(episode.query_image[None])
        return episode, query, self.backbone(episode.support_images[0])


def _kept(world: Any, backbone: Any, layers: bool = True) -> Any:
    from cstlib.features import FeatureStore

    class Kept(FeatureStore):
        """Features from a file that is there; none are computed."""

        def _build(self, folder: Path, names: list[str], progress: bool) -> None:
            raise Missing(f"features of {self.name}: {PREPARE}")

    return Kept(world, backbone, progress=False, layers=layers)


def failed(what: str, error: Exception) -> str:
    """What to say of something that raised, in a line."""
    return (
        f"a {what} that works ({type(error).__name__}: {_last(error)}): {INSTALL}, "
        "then the tests"
    )


def _words(finding: Finding) -> str:
    return f"{finding.topic} ({finding.found}): {finding.todo}"


def _last(error: BaseException) -> str:
    """The last line of what an error says, without its full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1].rstrip(".")


__all__ = ["Missing", "Room", "failed"]
