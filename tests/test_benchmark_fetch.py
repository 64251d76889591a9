"""What a benchmark lacks is fetched from its hosts, here a server of made archives."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from made import is_one_sentence
from made_benchmarks import LISTS, lists_of, made_coco, made_pascal

from cstlib.cli import main
from cstlib.data import coco, pascal
from cstlib.data.download import Archive
from cstlib.errors import CstlibError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the folder's files can be fetched."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def made_archive(archive: Archive, path: Path, address: str) -> Archive:
    """The same archive, if it were the made one at ``path``, served at ``address``."""
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    url = f"{address}/{path.name}"
    return replace(archive, url=url, md5=md5, size=path.stat().st_size)


def test_an_empty_folder_is_filled_from_the_hosts(tmp_path, monkeypatch, capsys):
    made, hosted = made_pascal(tmp_path / "made"), tmp_path / "hosted"
    hosted.mkdir()
    root, out = tmp_path / "root", tmp_path / "out"
    command = ["data", "pascal", "--root", str(root), "--out", str(out)]
    folders = {"VOC": "VOCdevkit", "SBD": "benchmark_RELEASE"}
    with served(hosted) as address:
        for name, folder in folders.items():
            archive = getattr(pascal, name)
            path = hosted / archive.name
            with tarfile.open(path, "w:gz") as tar:
                tar.add(made / folder, folder)
            monkeypatch.setattr(pascal, name, made_archive(archive, path, address))
        assert main(command) == 0
    assert lists_of(out) == LISTS
    assert "Fetching VOCtrainval_11-May-2012.tar (0.0 GB)" in capsys.readouterr().out
    assert sorted(p.name for p in root.iterdir()) == sorted(
        [pascal.VOC.name, pascal.SBD.name, *folders.values()]
    )
    # The archives that lie there are enough, without the server.
    for folder in folders.values():
        shutil.rmtree(root / folder)
    shutil.rmtree(out)
    assert main(command) == 0
    assert lists_of(out) == LISTS and "Fetching" not in capsys.readouterr().out


def test_only_what_is_missing_is_fetched(tmp_path, monkeypatch):
    original = made_coco(tmp_path / "original", per_class=2)
    prepared, hosted, root = (tmp_path / n for n in ("prepared", "hosted", "root"))
    coco.prepare_coco(original, prepared, progress=False)
    hosted.mkdir()
    # The training images lie there already.
    root.mkdir()
    shutil.copytree(original / "train2014", root / "train2014")
    with served(hosted) as address:
        for part, archive in coco.ARCHIVES.items():
            path = hosted / archive.name
            with zipfile.ZipFile(path, "w") as packed:
                for file in sorted((original / part).iterdir()):
                    packed.write(file, f"{part}/{file.name}")
            new = made_archive(archive, path, address)
            monkeypatch.setitem(coco.ARCHIVES, part, new)
        coco.prepare_coco(root, tmp_path / "out", progress=False)
    assert not (root / "train2014.zip").exists() and (root / "val2014.zip").exists()
    for path in (prepared / "ImageSets").rglob("*.*"):
        other = tmp_path / "out" / path.relative_to(prepared)
        assert other.read_bytes() == path.read_bytes()


def test_the_archives_are_torchvisions():
    from torchvision.datasets import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    voc = DATASET_YEAR_DICT["2012"]
    assert (pascal.VOC.md5, pascal.VOC.name) == (voc["md5"], voc["filename"])
    assert (pascal.SBD.url, pascal.SBD.md5) == (SBDataset.url, SBDataset.md5)


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    tmp_path, offline, monkeypatch
):
    """Room for both archives and for what comes out of them."""
    needed = 2 * (pascal.VOC.size + pascal.SBD.size)
    room = SimpleNamespace(free=needed)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(
        CstlibError, match="needs 7.0 GB and its disk has 6.8"
    ) as caught:
        pascal.prepare_pascal(tmp_path / "root", tmp_path / "out", progress=False)
    assert is_one_sentence(caught.value)
    assert [*tmp_path.iterdir()] == []
