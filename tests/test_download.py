"""Downloads from a server on this machine that misbehaves in all the usual ways."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from made import is_one_sentence

from cstlib.data import download
from cstlib.data.download import Archive, check_space, fetch
from cstlib.errors import CstlibError

BODY = os.urandom(300_000)


@dataclass
class Behaviour:
    """How the server answers.

    Attributes:
        body: the file.
        cuts: bytes after which the first, second, ... connection breaks.
        ranges: whether parts may be asked for.
        status: an error to answer with instead, for the first ``failures`` requests.
        tag: the file's version.
        asked: the Range headers of the requests, in order.
    """

    body: bytes = BODY
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 0
    failures: int = 0
    tag: str = '"one"'
    asked: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        how = self.server.how
        how.asked.append(self.headers.get("Range"))
        if how.failures > 0:
            how.failures -= 1
            self.send_error(how.status)
            return
        start = 0
        same = self.headers.get("If-Range") in (None, how.tag)
        if how.ranges and same and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(how.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(how.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            span = f"bytes {start}-{len(how.body) - 1}/{len(how.body)}"
            self.send_header("Content-Range", span)
        self.send_header("ETag", how.tag)
        self.send_header("Content-Length", str(len(how.body) - start))
        self.end_headers()
        cut = how.cuts.pop(0) if how.cuts else len(how.body)
        self.wfile.write(how.body[start : start + cut])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.how = Behaviour()
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def archive(server):
    url = f"http://127.0.0.1:{server.server_address[1]}/files/made.bin"
    return Archive(url, len(BODY), hashlib.md5(BODY).hexdigest(), ("made",))


def get(archive, folder):
    return fetch(archive, folder, progress=False, patience=3, pause=0)


def refused(archive, folder, words):
    with pytest.raises(CstlibError, match=words) as caught:
        get(archive, folder)
    assert is_one_sentence(caught.value)
    assert not (folder / "made.bin").exists()


def test_a_file_arrives_whole_and_is_fetched_once(server, archive, tmp_path):
    path = get(archive, tmp_path / "new" / "folder")
    assert path.read_bytes() == BODY and path.name == "made.bin"
    assert [p.name for p in path.parent.iterdir()] == ["made.bin"]
    assert get(archive, path.parent) == path
    assert server.how.asked == [None]


def test_a_cut_connection_is_resumed_where_it_was(server, archive, tmp_path):
    server.how.cuts = [100_000, 50_000]
    assert get(archive, tmp_path).read_bytes() == BODY
    assert server.how.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_many_cuts_are_no_reason_to_give_up_while_bytes_arrive(
    server, archive, tmp_path
):
    server.how.cuts = [20_000] * 12
    assert get(archive, tmp_path).read_bytes() == BODY
    assert len(server.how.asked) == 13


def test_a_second_run_goes_on_with_the_first_ones_bytes(server, archive, tmp_path):
    server.how.cuts = [120_000, 0, 0, 0]
    refused(archive, tmp_path, "cut at 120000 of 300000 bytes")
    assert (tmp_path / "made.bin.part").stat().st_size == 120_000
    assert get(archive, tmp_path).read_bytes() == BODY
    assert server.how.asked[-1] == "bytes=120000-"


def test_a_server_without_ranges_starts_again(server, archive, tmp_path):
    server.how.cuts, server.how.ranges = [100_000], False
    assert get(archive, tmp_path).read_bytes() == BODY


def test_another_version_in_the_meantime_starts_again(server, archive, tmp_path):
    server.how.body, server.how.cuts = BODY[::-1], [100_000, 0, 0, 0]
    refused(archive, tmp_path, "cut at 100000")
    server.how.body, server.how.tag = BODY, '"two"'
    server.how.asked.clear()
    assert get(archive, tmp_path).read_bytes() == BODY
    # Sent whole at once, not first the rest and then, for its wrong sum, the whole.
    assert server.how.asked == ["bytes=100000-"]


def test_a_shorter_version_leaves_nothing_of_the_longer_one(server, archive, tmp_path):
    server.how.cuts, server.how.ranges = [100_000, 0, 0, 0], False
    refused(archive, tmp_path, "cut at")
    server.how.body = short = BODY[:80_000]
    shorter = replace(archive, md5=hashlib.md5(short).hexdigest(), size=len(short))
    server.how.asked.clear()
    assert get(shorter, tmp_path).read_bytes() == short
    assert len(server.how.asked) == 1


def test_a_wrong_beginning_is_fetched_anew(server, archive, tmp_path):
    (tmp_path / "made.bin.part").write_bytes(b"x" * 1000)
    assert get(archive, tmp_path).read_bytes() == BODY
    assert server.how.asked == ["bytes=1000-", None]


def test_a_beginning_that_is_already_all(server, archive, tmp_path):
    (tmp_path / "made.bin.part").write_bytes(BODY)
    assert get(archive, tmp_path).read_bytes() == BODY


def test_a_beginning_longer_than_the_file(server, archive, tmp_path):
    (tmp_path / "made.bin.part").write_bytes(BODY + b"more")
    assert get(archive, tmp_path).read_bytes() == BODY


def test_wrong_bytes_are_refused_and_removed(server, archive, tmp_path):
    server.how.body = BODY[::-1]
    refused(archive, tmp_path, "other bytes than the published")
    assert not (tmp_path / "made.bin.part").exists()
    (tmp_path / "made.bin").write_bytes(b"put here by hand")
    with pytest.raises(CstlibError, match="not the published file"):
        get(archive, tmp_path)


def test_without_a_known_checksum_any_whole_file_is_taken(server, archive, tmp_path):
    server.how.body = BODY[::-1]
    assert get(replace(archive, md5=None), tmp_path).read_bytes() == BODY[::-1]


def test_a_file_that_is_not_there_is_said_at_once(server, archive, tmp_path):
    server.how.status, server.how.failures = 404, 9
    refused(archive, tmp_path, "not to be had .404")
    assert len(server.how.asked) == 1


def test_a_busy_server_is_asked_again(server, archive, tmp_path):
    server.how.status, server.how.failures = 503, 2
    assert get(archive, tmp_path).read_bytes() == BODY
    server.how.failures = 9
    refused(archive, tmp_path / "other", "503")


def test_no_server(archive, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_address[1]
    gone = replace(archive, url=f"http://127.0.0.1:{port}/made.bin")
    refused(gone, tmp_path, "Cannot download .*check the network")


def test_too_little_room_is_said_before_a_byte_is_fetched(
    server, archive, tmp_path, monkeypatch
):
    free = SimpleNamespace(free=download.RESERVE + len(BODY) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    refused(archive, tmp_path / "new", "make room or choose another folder")
    assert server.how.asked == []
    free.free += 1
    check_space(tmp_path / "new" / "folder", len(BODY))
    # What is there already needs no room again.
    (tmp_path / "made.bin.part").write_bytes(BODY[:200_000])
    free.free -= 200_000
    assert get(archive, tmp_path).read_bytes() == BODY


def test_a_disk_that_fills_up_keeps_what_arrived(
    server, archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(download, "BLOCK", 50_000)
    room = [120_000]

    class Full:
        """A file on a disk with so much room."""

        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, block):
            if len(block) > room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            room[0] -= len(block)
            return self.file.write(block)

    path_type = type(tmp_path)
    open_file = path_type.open
    with monkeypatch.context() as patch:
        patch.setattr(
            path_type,
            "open",
            lambda self, mode="r", *a, **k: (
                Full(open_file(self, mode, *a, **k))
                if mode == "r+b"
                else open_file(self, mode, *a, **k)
            ),
        )
        refused(archive, tmp_path, "disk of .* is full: make room")
    assert (tmp_path / "made.bin.part").read_bytes() == BODY[:100_000]
    assert get(archive, tmp_path).read_bytes() == BODY
    assert server.how.asked[-1] == "bytes=100000-"


def test_a_folder_that_cannot_be_written(archive, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CstlibError, match="Cannot write") as caught:
        get(archive, tmp_path / "file" / "folder")
    assert is_one_sentence(caught.value)
