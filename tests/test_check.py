"""``python -m cstlib check`` on machines that lack something."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from cstlib import check, files
from cstlib.check import Finding

Usage = namedtuple("Usage", "total used free")


def run_check(*, path: Path | None = None, **environment: str):
    """The command as a user types it, optionally with modules that hide real ones."""
    variables = {**os.environ, **environment}
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", "cstlib", "check"],
        check=False,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def fake_module(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text, encoding="utf-8")


def blocking(findings) -> list[Finding]:
    return [finding for finding in findings if finding.blocks]


def test_the_report_names_everything_and_is_fast(tmp_path: Path) -> None:
    start = time.monotonic()
    done = run_check(CSTLIB_DATA=str(tmp_path))
    assert time.monotonic() - start < 30  # 4 s where nothing else runs
    assert done.stderr == ""
    for topic in ("Python", "torch", "torchvision", "timm", "device", "memory", "disk"):
        assert f"\n  {topic}" in f"\n{done.stdout}", done.stdout
    assert "python -m cstlib data mini" in done.stdout
    ready = done.stdout.rstrip().endswith("Ready: the walkthrough can run here.")
    assert done.returncode == (0 if ready else 2)
    assert ready == ("\n!" not in done.stdout)


def test_a_torch_that_does_not_load_is_reported(tmp_path: Path) -> None:
    fake_module(tmp_path, "torch", "raise OSError('libc10.so: cannot open')")
    done = run_check(path=tmp_path)
    assert done.returncode == 2
    assert "! torch       does not load (libc10.so: cannot open)" in done.stdout
    assert "pip uninstall torch torchvision" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stdout.rstrip().endswith("first mend what is marked with ! above.")


def test_a_torchvision_that_does_not_match_is_reported(tmp_path: Path) -> None:
    wrong = "raise RuntimeError('operator torchvision::nms does not exist')"
    fake_module(tmp_path, "torchvision", wrong)
    done = run_check(path=tmp_path)
    assert done.returncode == 2
    assert "! torchvision does not match torch (operator torchvision" in done.stdout


def test_the_pair_that_is_installed_matches() -> None:
    assert [finding.found for finding in check.look_at_pair()] == [
        "torch and torchvision match"
    ]


def test_an_old_python_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not blocking(check.look_at_python())
    monkeypatch.setattr("platform.python_version_tuple", lambda: ("3", "9", "18"))
    assert "3.10 or newer" in blocking(check.look_at_python())[0].todo


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["timm>=1,<2", "numpy>=99", 'ruff>=99; extra == "test"', "no-such-thing>=1"]
    monkeypatch.setattr(check.metadata, "requires", lambda name: asked)
    findings = {finding.topic: finding for finding in check.look_at_packages()}
    assert not findings["timm"].todo
    assert findings["numpy"].blocks and "needed is >=99" in findings["numpy"].found
    assert findings["no-such-thing"].found.startswith("missing")
    # Tests are not part of the walkthrough.
    assert findings["ruff"].todo == check.INSTALL and not findings["ruff"].blocks


def test_cstlib_itself_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(name: str):
        raise check.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(check.metadata, "requires", not_there)
    (finding,) = check.look_at_packages()
    assert finding.blocks and finding.todo == check.INSTALL


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "data" / "here"  # neither exists yet
    assert not blocking(check.look_at_disk(home))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(1, 1, 3e8))
    (finding,) = check.look_at_disk(home)
    assert finding.blocks and "0.3 GB free" in finding.found
    (home / "mini").mkdir(parents=True)
    (finding,) = check.look_at_disk(home)
    assert finding.todo and not finding.blocks
    monkeypatch.setattr("os.access", lambda folder, mode: False)
    (finding,) = check.look_at_disk(home)
    assert finding.blocks and "CSTLIB_DATA" in finding.todo


def test_weights_that_should_be_shipped(tmp_path: Path) -> None:
    (finding,) = blocking(check.look_at_weights(tmp_path, tmp_path))
    assert "dino-mini is missing" in finding.found
    (tmp_path / "dino-mini.safetensors").touch()
    findings = list(check.look_at_weights(tmp_path, tmp_path))
    assert not blocking(findings) and findings[0].found == "shipped: dino-mini"


def test_weights_that_are_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached = {"timm/vit_small_patch16_224.dino": str(tmp_path / "model.safetensors")}
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda name, file: cached.get(name)
    )
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "dino-resnet50.pth").touch()
    _, here, absent = check.look_at_weights(tmp_path, tmp_path / "weights")
    assert here == Finding("", "here too: dino-vits16, dino-resnet50")
    assert absent.todo and not absent.blocks
    # All others of the registry, but none that ships or needs no file.
    named = set(absent.found.removeprefix("not here: ").split(", "))
    assert named == {
        *("dino-vits8", "dino-vits8-300ep", "dino-vitb8", "dino-vitb16"),
        *("deit-small16", "vit-small16-augreg", "mae-vitb16", "resnet50"),
    }


def test_the_hubs_repositories_are_named_like_the_architectures() -> None:
    import timm

    from cstlib.backbones import BACKBONES

    hub = [spec for spec in BACKBONES.values() if spec.source == "hub"]
    assert len(hub) > 5
    for spec in hub:
        published = timm.get_pretrained_cfg(spec.architecture)
        assert published.hf_hub_id == f"timm/{spec.architecture}"


def test_data(tmp_path: Path) -> None:
    assert [bool(f.todo) for f in check.look_at_data(tmp_path)] == [True, True, True]
    files.write_json(tmp_path / "mini" / "meta.json", {"train": 20, "val": 5})
    files.write_json(tmp_path / "pascal/ImageSets/FewShot/labels.json", {})
    mini, pascal, coco = check.look_at_data(tmp_path)
    assert mini.found == "mini: 20 training, 5 validation images"
    assert pascal.found == "pascal: here" and coco.todo
    (tmp_path / "mini" / "meta.json").write_text("{half", encoding="utf-8")
    assert "data mini" in next(check.look_at_data(tmp_path)).todo
