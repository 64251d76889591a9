"""Folds of classes and the lists' files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import is_one_sentence

from cstlib.data.lists import fold_classes
from cstlib.data.sampler import read_list, write_list
from cstlib.errors import CstlibError


def test_folds_hold_out_the_published_classes():
    assert fold_classes(0) == (1, 2, 3, 4, 5)
    assert fold_classes(3) == (16, 17, 18, 19, 20)
    assert fold_classes(0, "coco") == tuple(range(1, 80, 4))
    for protocol, count in (("pascal", 20), ("coco", 80)):
        every = sorted(c for fold in range(4) for c in fold_classes(fold, protocol))
        assert every == list(range(1, count + 1))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z0-9_./-]{0,12}[a-z0-9]", fullmatch=True),
            st.integers(1, 80),
        ),
        unique=True,
    )
)
def test_lists_survive_the_file(tmp_path_factory, entries):
    path = tmp_path_factory.getbasetemp() / "list.txt"
    write_list(path, entries)
    assert read_list(path) == entries
    assert path.read_bytes().count(b"\n") == len(entries)


def test_a_list_reads_as_in_the_benchmark(tmp_path):
    path = tmp_path / "fold0.txt"
    path.write_bytes(b"2007_000033__01\nval2014/a__b.jpg__12\n")
    assert read_list(path) == [("2007_000033", 1), ("val2014/a__b.jpg", 12)]


@pytest.mark.parametrize(
    "line", ["", "2007_000033", "2007_000033__", "__01", "a__b", "a__0", "a__01 "]
)
def test_a_malformed_line_is_named(tmp_path, line):
    path = tmp_path / "fold0.txt"
    path.write_text(f"good__01\n{line}\nalso_good__02\n", encoding="utf-8")
    with pytest.raises(CstlibError, match="Line 2 of .*fold0.txt") as caught:
        read_list(path)
    assert is_one_sentence(caught.value)


def test_a_list_is_missing_binary_or_repeats(tmp_path):
    path = tmp_path / "fold0.txt"
    with pytest.raises(CstlibError, match="fold0.txt is missing") as caught:
        read_list(path)
    assert is_one_sentence(caught.value)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CstlibError, match="cannot be read"):
        read_list(path)
    path.write_text("a__01\nb__01\na__1\n", encoding="utf-8")
    with pytest.raises(CstlibError, match="Line 3 .* repeats line 1"):
        read_list(path)
