"""Archives of all kinds, honest and not."""

from __future__ import annotations

import errno
import io
import stat
import tarfile
import zipfile

import pytest
from made import is_one_sentence

from cstlib.data.archives import unpack
from cstlib.errors import CstlibError

GOOD = {"made/a.txt": b"a" * 5000, "made/deep/b.txt": b"b", "other/c.txt": b"c"}


def tar(path, members, links=()):
    """``links`` are (name, target, type)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return path


def zipped(path, members, links=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is, without the constructor's corrections
            archive.writestr(info, content)
        for name, target, _ in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return path


PACK = {"made.tgz": tar, "made.zip": zipped}


def state(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


@pytest.mark.parametrize("name", PACK)
def test_folders_come_to_their_place(tmp_path, name):
    path = PACK[name](tmp_path / name, GOOD)
    target = tmp_path / "target"
    target.mkdir()
    unpack(path, target, ("made/deep", "other"), progress=False)
    assert state(target) == ["made", "made/deep", "made/deep/b.txt", "other"] + [
        "other/c.txt"
    ]
    with pytest.raises(
        CstlibError, match="there but incomplete: move it away"
    ) as caught:
        unpack(path, target, ("other",), progress=False)
    assert is_one_sentence(caught.value)
    with pytest.raises(CstlibError, match="no folder missing") as caught:
        unpack(path, target, ("missing",), progress=False)
    assert is_one_sentence(caught.value)


ATTACKS = {
    "a.tgz": [
        ({**GOOD, "../evil.txt": b""}, ()),
        ({**GOOD, "made/../../evil.txt": b""}, ()),
        (GOOD, [("made/link", "../../evil", tarfile.SYMTYPE)]),
        (GOOD, [("made/link", "/etc", tarfile.SYMTYPE)]),
        (GOOD, [("made/link", "../../evil.txt", tarfile.LNKTYPE)]),
        (GOOD, [("made/device", "", tarfile.CHRTYPE)]),
    ],
    "a.zip": [
        ({**GOOD, "../evil.txt": b""}, ()),
        ({**GOOD, "made/../../evil.txt": b""}, ()),
        ({**GOOD, "/evil.txt": b""}, ()),
        ({**GOOD, "C:/evil.txt": b""}, ()),
        ({**GOOD, "..\\evil.txt": b""}, ()),
        ({**GOOD, "made\\..\\..\\evil.txt": b""}, ()),
        (GOOD, [("made/link", "/etc", None)]),
    ],
}


@pytest.mark.parametrize(
    "name, members, links",
    [(name, *attack) for name, attacks in ATTACKS.items() for attack in attacks],
)
def test_nothing_is_written_outside_or_at_all(tmp_path, name, members, links):
    pack = tar if name.endswith("tgz") else zipped
    path = pack(tmp_path / name, members, links)
    target = tmp_path / "target" / "inner"
    target.mkdir(parents=True)
    before = state(tmp_path)
    with pytest.raises(CstlibError, match="outside its folder") as caught:
        unpack(path, target, ("made",), progress=False)
    assert is_one_sentence(caught.value)
    assert state(tmp_path) == before


def test_an_absolute_path_in_a_tar_stays_inside(tmp_path):
    path = tar(tmp_path / "a.tgz", {"/made/a.txt": b"a"})
    target = tmp_path / "target"
    target.mkdir()
    unpack(path, target, ("made",), progress=False)
    assert state(target) == ["made", "made/a.txt"]


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_damaged_archive_leaves_nothing(tmp_path, name, keep):
    path = PACK[name](tmp_path / name, {**GOOD, "made/big": bytes(range(256)) * 400})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(CstlibError, match="damaged|Cannot unpack") as caught:
        unpack(path, target, ("made",), progress=False)
    assert is_one_sentence(caught.value)
    assert state(target) == []


def test_wrong_bytes_inside_a_zip_are_noticed(tmp_path):
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made/a.txt", b"a" * 1000)
    path.write_bytes(path.read_bytes().replace(b"a" * 1000, b"a" * 999 + b"b"))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(CstlibError, match="damaged"):
        unpack(path, target, ("made",), progress=False)
    assert state(target) == []


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    target = tmp_path / "target"
    target.mkdir()
    for name, pack in PACK.items():
        path = pack(tmp_path / name, GOOD)
        with pytest.raises(CstlibError, match="No space left.*make room") as caught:
            unpack(path, target, ("made",), progress=False)
        assert is_one_sentence(caught.value)
        assert state(target) == []
