"""Unpack archives into their folder and nowhere else, whole or not at all."""

from __future__ import annotations

import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from tqdm.auto import tqdm

from cstlib.errors import CstlibError

# What damaged archives raise; RuntimeError comes of encrypted zip members.
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


def unpack(
    path: Path, folder: Path, folders: tuple[str, ...], progress: bool = True
) -> None:
    """Unpack a tar or zip file beside its place, then move ``folders`` into it.

    Tar members pass Python's own "data" filter, which refuses absolute paths, paths
    and links that lead outside, and devices; zip members are held to the same.

    Args:
        path: the archive.
        folder: where ``folders`` shall lie.
        folders: folders in the archive, as in "VOCdevkit/VOC2012".

    Raises:
        CstlibError: the archive is damaged, would write outside its folder, lacks one
            of ``folders``, or one of these is there already; or the disk is full.
    """
    for name in folders:
        if (folder / name).exists():
            raise CstlibError(
                f"{folder / name} is there but incomplete: move it away and run the "
                "command again."
            )
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".unpacking-"))
        if path.suffix == ".zip":
            _unpack_zip(path, temporary, progress)
        else:
            _unpack_tar(path, temporary, progress)
        for name in folders:
            if not (temporary / name).is_dir():
                raise CstlibError(
                    f"{path} holds no folder {name}: fetch the published archive."
                )
        for name in folders:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).rename(folder / name)
    except BROKEN as error:
        raise CstlibError(
            f"The archive {path} is damaged ({type(error).__name__}): delete it and run "
            "the command again."
        ) from error
    except OSError as error:
        raise CstlibError(
            f"Cannot unpack {path} to {folder} ({error.strerror or error}): make room, "
            "or check the archive and the folder's permissions."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _unpack_tar(path: Path, folder: Path, progress: bool) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise CstlibError(
            "This Python cannot unpack tar files safely: update it (3.10.12, 3.11.4, "
            "or 3.12 and newer can)."
        )
    with tarfile.open(path) as archive:
        for member in tqdm(
            archive, f"unpacking {path.name}", leave=False, disable=not progress
        ):
            try:
                archive.extract(member, folder, filter="data")
            except tarfile.FilterError as error:
                raise _unsafe(path, member.name) from error


def _unpack_zip(path: Path, folder: Path, progress: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if not _is_inside(member):
                raise _unsafe(path, member.filename)
        for member in tqdm(
            members, f"unpacking {path.name}", leave=False, disable=not progress
        ):
            # Reads to the end, so that the checksum of each file is tested too.
            archive.extract(member, folder)


def _is_inside(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a plain file or folder below the target.

    zipfile would quietly write a stranger's path somewhere else; here it counts as
    an attack, and so does a link.
    """
    name = member.filename
    parts = re.split(r"[/\\]", name)
    kind = stat.S_IFMT(member.external_attr >> 16)
    return (
        bool(name)
        and parts[0] != ""
        and ".." not in parts
        and ":" not in parts[0]
        and "\\" not in name
        and "\0" not in name
        and kind in (0, stat.S_IFREG, stat.S_IFDIR)
    )


def _unsafe(path: Path, name: str) -> CstlibError:
    return CstlibError(
        f"The archive {path} wants to write outside its folder ({name!r}): do not use "
        "it, and fetch the published one."
    )
