"""Docstrings keep the promises of CONTRIBUTING: all public names, errors, shapes.

What is held of each public module, class, function and method of cstlib:

- it has a docstring; a method may inherit that of a class of cstlib;
- a `CstlibError` that it raises itself is announced under ``Raises:``;
- names under ``Args:`` are parameters, names under ``Attributes:`` are attributes;
- where a parameter or the result is a tensor or an array, a shape is given: two
  dimensions joined by " x ", a letter alone ("B labels"), or the words "any shape".
  A docstring may also point elsewhere ("as in `compare`", "as CST").
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

import cstlib

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$", re.MULTILINE)
ENTRY = re.compile(
    r"(?:^|[.;] )\*{0,2}([a-z_]\w*(?:, \*{0,2}[a-z_]\w*)*): ", re.MULTILINE
)
SHAPE = re.compile(r"\w\)?'?s? x [\w(]|\b[B-Z]\b|any shape|\d-D")
ELSEWHERE = re.compile(r"\b[Aa]s (?:in |of |for )?(?:the |a )?[`A-Z]|`\w+`'s")
# Weights by name have each their own shape.
ARRAYS = re.compile(r"(?<!dict\[str, )\b(?:Tensor|ndarray)\b")


@dataclass(frozen=True)
class Public:
    """A public name: where it stands, what it is, and its source's syntax tree."""

    where: str
    thing: Any
    doc: str
    node: ast.FunctionDef | ast.ClassDef


def modules() -> Iterator[ModuleType]:
    """All of cstlib. Solutions are left out: each exercise says what it asks for."""
    for found in pkgutil.walk_packages(cstlib.__path__, "cstlib."):
        if not found.name.startswith(("cstlib.solutions.", "cstlib.__main__")):
            yield importlib.import_module(found.name)


def public_names() -> Iterator[Public]:
    for module in modules():
        yield from _public(module, ast.parse(inspect.getsource(module)).body, module)


def _public(module: ModuleType, body: list[ast.stmt], owner: Any) -> Iterator[Public]:
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_") or not hasattr(owner, node.name):
            continue
        thing = getattr(owner, node.name)
        doc = ast.get_docstring(node) or ""
        if inspect.isclass(owner):
            doc = doc or _inherited(owner, node.name)
            where = f"{module.__name__}.{owner.__name__}.{node.name}"
        else:
            where = f"{module.__name__}.{node.name}"
        yield Public(where, thing, doc, node)
        if isinstance(node, ast.ClassDef):
            yield from _public(module, node.body, thing)


def _inherited(owner: type, name: str) -> str:
    """The docstring of that method in the nearest class of cstlib that has one."""
    for base in owner.__mro__[1:]:
        if base.__module__.startswith("cstlib"):
            doc = getattr(vars(base).get(name), "__doc__", None)
            if doc:
                return inspect.cleandoc(doc)
    return ""


def sections(doc: str) -> dict[str, str]:
    """A docstring's sections by name; what comes before them is called ""."""
    pieces = SECTION.split(doc)
    texts = [pieces[0], *pieces[2::2]]
    return dict(zip(["", *pieces[1::2]], map(inspect.cleandoc, texts)))


def entries(text: str) -> set[str]:
    """The names that a section explains: ``x: ...``, ``x, y: ...``, ``... . z: ...``."""
    outer = "\n".join(line for line in text.splitlines() if line[:1] != " ")
    return {name.strip("* ") for hit in ENTRY.findall(outer) for name in hit.split(",")}


def raises(node: ast.AST) -> bool:
    """Whether the code itself, inner functions included, raises `CstlibError`."""
    return any(
        isinstance(inner, ast.Raise)
        and isinstance(inner.exc, ast.Call)
        and getattr(inner.exc.func, "id", "") == "CstlibError"
        for inner in ast.walk(node)
    )


def attributes(thing: type) -> set[str]:
    """Names that instances have: fields, properties, and what methods assign to."""
    found: set[str] = set()
    for base in thing.__mro__:
        if not base.__module__.startswith("cstlib"):
            continue
        found |= set(vars(base)) | set(vars(base).get("__annotations__", {}))
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == (
                "self.register_buffer"
            ):
                found.add(ast.literal_eval(node.args[0]))
    return found


PUBLIC = list(public_names())
FUNCTIONS = [p for p in PUBLIC if isinstance(p.node, ast.FunctionDef)]
CLASSES = [p for p in PUBLIC if isinstance(p.node, ast.ClassDef)]


def complaint(names: list[str], what: str) -> None:
    if names:
        pytest.fail(f"{len(names)} {what}:\n" + "\n".join(names), pytrace=False)


def test_every_public_name_has_a_docstring() -> None:
    assert len(PUBLIC) > 500
    bare = [m.__name__ for m in modules() if not m.__doc__]
    bare += [p.where for p in PUBLIC if not p.doc]
    complaint(bare, "without a docstring")


def test_errors_are_announced() -> None:
    silent = []
    for p in FUNCTIONS:
        if raises(p.node) and "CstlibError" not in sections(p.doc).get("Raises", ""):
            silent.append(p.where)
    for p in CLASSES:
        makers = [
            node
            for node in p.node.body
            if getattr(node, "name", "") in ("__init__", "__post_init__")
        ]
        announced = "CstlibError" in sections(p.doc).get("Raises", "")
        if any(map(raises, makers)) and not announced:
            silent.append(p.where)
    complaint(silent, "raise CstlibError, and have no `Raises:` that says when")


def test_documented_arguments_and_attributes_exist() -> None:
    wrong = []
    for p in PUBLIC:
        found = sections(p.doc)
        if args := entries(found.get("Args", "")):
            target = p.thing.fget if isinstance(p.thing, property) else p.thing
            known = set(inspect.signature(target).parameters)
            wrong += [f"{p.where}: {name}" for name in sorted(args - known)]
        if inspect.isclass(p.thing):
            listed = entries(found.get("Attributes", ""))
            missing = listed - attributes(p.thing)
            wrong += [f"{p.where}: {name}" for name in sorted(missing)]
    complaint(wrong, "documented and not there")


def test_tensors_have_shapes() -> None:
    shapeless = []
    for p in FUNCTIONS:
        arguments = [
            *p.node.args.posonlyargs,
            *p.node.args.args,
            *p.node.args.kwonlyargs,
        ]
        hints = [a.annotation for a in arguments] + [p.node.returns]
        arrays = any(h and ARRAYS.search(ast.unparse(h)) for h in hints)
        if arrays and not SHAPE.search(p.doc) and not ELSEWHERE.search(p.doc):
            shapeless.append(p.where)
    complaint(shapeless, "take or give tensors, and say no shape")


@pytest.mark.parametrize(
    "doc, names",
    [
        ("Args:\n    a: one.\n    b, c: two. d: three.", {"a", "b", "c", "d"}),
        ("Args:\n    a: like this: no\n        deeper: not one.", {"a"}),
        ("Says: nothing.", set()),
    ],
)
def test_entries_are_found(doc: str, names: set[str]) -> None:
    assert entries(sections(doc).get("Args", "")) == names
