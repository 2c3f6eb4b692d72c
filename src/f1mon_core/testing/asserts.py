"""What an `assert` of a law says when it fails: what was expected, in the law's own words, and what was seen.

The modules of the laws are compiled with their asserts spelled out, whoever runs them and also under `python -O`, which
would take plain asserts away and let every store pass.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

TOLD = "f1mon_core.testing."
"""What begins the names of the modules whose asserts are told."""
SHOWN = 600
"""The most characters of a value that are shown."""
_RAISE = "@told"


class Unkept(AssertionError):
    """A law that was not kept.

    Attributes:
        expected: What must be so, as the law has it.
        seen: What is so instead.
        about: What of several it is about; empty where there is one.
    """

    def __init__(self, expected: str, seen: str, about: str = "") -> None:
        super().__init__(expected, seen, about)
        self.expected, self.seen, self.about = expected, seen, about

    def __str__(self) -> str:
        about = f" ({self.about})" if self.about else ""
        return f"expected {self.expected}{about}\nseen     {self.seen}"


def shown(value: Any) -> str:
    """A value as text of at most `SHOWN` characters; also one that cannot be shown."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a message must not hide what it tells of
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    if len(text) <= SHOWN:
        return text
    return f"{text[: SHOWN // 2]} … ({len(text)} characters) … {text[-SHOWN // 2 :]}"


def unkept(source: str, values: Sequence[Any], given: Sequence[bool], about: Any = None) -> Unkept:
    """What a failed assert raises.

    Args:
        source: The text of what was asserted.
        values: What its operands came to, from left to right.
        given: For each operand whether its text says its value.
        about: The assert's own message.
    """
    seen = [shown(value) for value, known in zip(values, given, strict=True) if not known]
    return Unkept(source, " and ".join(seen) or shown(values[0]), "" if about is None else str(about))


class _Telling(ast.NodeTransformer):
    """Puts in the place of an assert what evaluates its operands, compares them, and tells of both."""

    def __init__(self, source: str) -> None:
        self.source = source

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        test = node.test
        operands = [test.left, *test.comparators] if isinstance(test, ast.Compare) else [_positive(test)]
        names = [f"@operand{number}" for number in range(len(operands))]
        kept: list[ast.expr] = [ast.Name(name, ast.Load()) for name in names]
        whole = kept[0]
        if isinstance(test, ast.Compare):
            whole = ast.Compare(kept[0], test.ops, kept[1:])
        elif operands[0] is not test:
            whole = ast.UnaryOp(ast.Not(), kept[0])
        told = ast.Call(
            ast.Name(_RAISE, ast.Load()),
            [
                ast.Constant(" ".join((ast.get_source_segment(self.source, test) or ast.unparse(test)).split())),
                ast.Tuple(list(kept), ast.Load()),
                ast.Tuple([ast.Constant(_is_said(operand)) for operand in operands], ast.Load()),
                *([] if node.msg is None else [node.msg]),
            ],
            [],
        )
        stores: list[ast.stmt] = [
            ast.Assign([ast.Name(name, ast.Store())], operand) for name, operand in zip(names, operands, strict=True)
        ]
        check = ast.If(ast.UnaryOp(ast.Not(), whole), [ast.Raise(told, None)], [])
        return [ast.fix_missing_locations(ast.copy_location(one, node)) for one in (*stores, check)]


def _positive(test: ast.expr) -> ast.expr:
    return test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else test


def _is_said(operand: ast.expr) -> bool:
    try:
        ast.literal_eval(operand)
    except (ValueError, TypeError, SyntaxError):
        return False
    return True


class _Loader(SourceFileLoader):
    """Compiles a module with its asserts told. No compiled file is read or left: others would take it for theirs."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        tree = _Telling(source).visit(ast.parse(source, path))
        return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)[_RAISE] = unkept
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(TOLD):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return spec
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def tell() -> None:
    """Tell the asserts of every module below `TOLD` that is imported from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
