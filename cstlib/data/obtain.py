"""Archives of the benchmarks: fetched, checked and unpacked, or just checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cstlib.data.archives import unpack
from cstlib.data.download import Archive, check_md5, check_space, fetch
from cstlib.data.prepared import Report, verify_prepared
from cstlib.data.published import Comparison
from cstlib.errors import CstlibError


def obtain(root: Path, archives: Sequence[Archive], progress: bool = True) -> None:
    """Fetch and unpack ``archives`` below ``root``; archives that lie there are used.

    Raises:
        CstlibError: a download or an archive fails, or the disk is too small for the
            archives and what comes out of them.
    """
    absent = [a for a in archives if not (root / a.name).is_file()]
    check_space(root, sum(a.size for a in archives) + sum(a.size for a in absent))
    for archive in archives:
        if archive in absent:
            gigabytes = f"{archive.size / 1e9:.1f} GB"
            print(f"Fetching {archive.name} ({gigabytes}) to {root}.", flush=True)
        path = fetch(archive, root, progress)
        print(f"Unpacking {archive.name}.", flush=True)
        unpack(path, root, archive.folders, progress)


def verify_lists(
    out: Path, report: Report, compare: Callable[[Path], Comparison]
) -> bool:
    """Check a prepared folder; ``compare`` judges its lists, if it holds any.

    Returns:
        Whether the lists are the benchmark's.
    """
    if not verify_prepared(out, report):
        return False
    comparison = compare(out / "ImageSets" / "FewShot")
    report.lines += [f"  {line}" for line in comparison.lines]
    return comparison.identical


def verify_archives(
    root: Path, archives: Sequence[Archive], report: Report, progress: bool = True
) -> None:
    """Check the archives that still lie below ``root``; none need be there."""
    for archive in archives:
        if not (root / archive.name).is_file():
            continue
        try:
            check_md5(root / archive.name, archive, progress)
            report.add(f"{archive.name}: the published bytes")
        except CstlibError as error:
            report.add(str(error), good=False)
