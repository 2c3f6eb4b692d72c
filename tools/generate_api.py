"""Writes `docs/api.md` from signatures and docstrings; `--check` says whether it is what they say now.

It reads the source as text and imports none of it, so lint can run it where nothing is installed.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
DOOR = "f1mon_core"
AUTHORS = ("f1mon_core.storage", "f1mon_core.records", "f1mon_core.errors")
FLOORS = ("monitor", "records", "recording", "metrics", "alerts", "delivery", "storage", "errors")
"""The domains in the order a user meets them."""
WIDE = 100
"""A signature longer than this has a line for each parameter."""
INTRODUCTION = """# API

Generated from the docstrings by `tools/generate_api.py`; do not edit.

The first part is what users import from `f1mon_core`. The second is what authors of backends import besides, from
`f1mon_core.storage`, `f1mon_core.records` and `f1mon_core.errors`, which have the names of the first part too.
"""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Node: TypeAlias = ast.ClassDef | Function | ast.Assign | ast.AnnAssign


class Definition(NamedTuple):
    """Where a name is defined, by what, and what is said of it."""

    module: str
    node: Node
    text: str


# Finding ------------------------------------------------------------------------------------------------------------


@cache
def tree(module: str) -> ast.Module:
    """The syntax tree of a module."""
    path = ROOT / "src" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def names_of(module: str) -> list[str]:
    """What a module shows: its `__all__`, else every public class it defines."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return [node.name for node in tree(module).body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]


def find(module: str, name: str) -> Definition | None:
    """The definition that a name of a module leads to; None for what is not defined in this package."""
    body = tree(module).body
    for node, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.ClassDef | Function) and node.name == name:
            return Definition(module, node, ast.get_docstring(node) or "")
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(_targets(node)[0]) == name:
            return Definition(module, node, _said(following))
    late = [one for node in body if isinstance(node, ast.If) for one in node.body]  # those for type checkers
    for node in [*body, *late]:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(DOOR):
            for one in node.names:
                if one.name == "*" and (found := find(str(node.module), name)):
                    return found
                if (one.asname or one.name) == name:
                    return find(str(node.module), one.name)
    return None


def members(definition: Definition) -> dict[str, Function]:
    """The public methods of a class, and behind its own those of bases that the page does not show."""
    assert isinstance(definition.node, ast.ClassDef)  # noqa: S101 - for the type checker
    found = {
        node.name: node
        for node in definition.node.body
        if isinstance(node, Function) and node.name[0] != "_" and not _is_setter(node)
    }
    for base in reversed(definition.node.bases):
        if (above := _behind(definition.module, base)) is not None:
            found = members(above) | found
    return found


def _behind(module: str, base: ast.expr) -> Definition | None:
    """The definition of a base class in this package that the page does not show."""
    above = find(module, ast.unparse(base).partition("[")[0])
    return above if above and isinstance(above.node, ast.ClassDef) and above not in shown() else None


@cache
def shown() -> list[Definition]:
    """Every definition of the page."""
    return [found for module in (DOOR, *AUTHORS) for name in names_of(module) if (found := find(module, name))]


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _said(node: ast.stmt) -> str:
    """The text under an assignment."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _is_setter(node: Function) -> bool:
    return any(ast.unparse(one).endswith(".setter") for one in node.decorator_list)


# Writing ------------------------------------------------------------------------------------------------------------


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    told: dict[str, Definition] = {}
    door = {name: found for name in names_of(DOOR) if (found := find(DOOR, name)) and name[0] != "_"}
    for floor in FLOORS:
        here = {name: one for name, one in door.items() if one.module.split(".")[1] == floor}
        if here:
            parts.append(f"## {floor.capitalize()}\n\n{_first_line(f'{DOOR}.{floor}')}\n")
            parts.extend(entry(name, here[name], here) for name in sorted(here, key=_sync_first))
            told |= here
    if left := door.keys() - told.keys():
        raise SystemExit(f"no floor of {FLOORS} holds {sorted(left)}")
    for module in AUTHORS:
        here = {name: found for name in names_of(module) if (found := find(module, name))}
        parts.append(f"## For authors: `{module}`\n\n{_first_line(module)}\n")
        new = [name for name in here if here[name] != told.get(name)]
        parts.extend(entry(name, here[name], here) for name in sorted(new, key=_sync_first))
        told |= here
    return "\n".join(parts)


def _sync_first(name: str) -> tuple[bool, str, int]:
    """Constants, then the rest by name, each sync class before its async one."""
    return (not name.isupper(), name.removeprefix("Async").lower(), len(name))


def _first_line(module: str) -> str:
    return (ast.get_docstring(tree(module)) or "").partition("\n\n")[0]


def entry(name: str, definition: Definition, beside: dict[str, Definition]) -> str:
    """What is said of one name."""
    parts = [f"### {name}\n", _block(shape(definition.node, definition.module)), prose(definition.text)]
    if isinstance(definition.node, ast.ClassDef):
        sync = beside.get(name.removeprefix("Async"), definition)
        told = {} if sync is definition else members(sync)
        if told:
            parts.append(f"Its methods are those of `{name.removeprefix('Async')}`, awaited.\n")
        for method, node in members(definition).items():
            if method not in told:
                parts += [f"#### {name}.{method}\n", _block(shape(node)), prose(ast.get_docstring(node) or "")]
    return "\n".join(part for part in parts if part)


def _block(code: str) -> str:
    return f"```py\n{code}\n```\n"


def shape(node: Node, module: str = "") -> str:
    """A definition as a stub shows it; a class in `module` without the bases whose methods stand with its own."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(one) for one in node.bases if _behind(module, one) is None)
        fields = [
            f"    {ast.unparse(one)}"
            for one in node.body
            if isinstance(one, ast.AnnAssign) and not ast.unparse(one.target).startswith("_")
        ]
        return "\n".join([f"class {node.name}({bases})" if bases else f"class {node.name}", *fields])
    if isinstance(node, Function):
        return signature(node)
    return ast.unparse(node)


def signature(node: Function) -> str:
    """The line that calls a function; more lines where it is long."""
    marks = [f"@{mark}\n" for one in node.decorator_list if (mark := ast.unparse(one)) in {"classmethod", "property"}]
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    head, given = f"{''.join(marks)}{word} {node.name}(", parameters(node.args)
    tail = f"){f' -> {ast.unparse(node.returns)}' if node.returns else ''}"
    line = f"{head}{', '.join(given)}{tail}"
    if len(line) <= WIDE:
        return line
    return "\n".join([head, *(f"    {one}," for one in given), tail])


def parameters(arguments: ast.arguments) -> list[str]:
    """Each parameter with its type and default, without the object itself."""
    placed = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(placed) - len(arguments.defaults)), *arguments.defaults]
    found = [_parameter(one, default) for one, default in zip(placed, defaults, strict=True)]
    if arguments.posonlyargs:
        found.insert(len(arguments.posonlyargs), "/")
    if placed and placed[0].arg in {"self", "cls"}:
        del found[0]
    if arguments.vararg:
        found.append(f"*{_parameter(arguments.vararg)}")
    elif arguments.kwonlyargs:
        found.append("*")
    found += [
        _parameter(one, default) for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        found.append(f"**{_parameter(arguments.kwarg)}")
    return found


def _parameter(one: ast.arg, default: ast.expr | None = None) -> str:
    annotated = f"{one.arg}: {ast.unparse(one.annotation)}" if one.annotation else one.arg
    equals = " = " if one.annotation else "="
    return annotated if default is None else f"{annotated}{equals}{ast.unparse(default)}"


def prose(text: str) -> str:
    """A docstring as Markdown: its sections become lists."""
    lines: list[str] = []
    within = False
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z]\w+:", line):
            within = True
            lines += [f"**{line[:-1]}**", ""]
        elif within and (item := re.match(r" {4}(\S[^:]*): (.*)", line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif within and line.startswith("        "):
            lines.append(f"  {line.strip()}")
        else:
            within = within and (not line or line.startswith(" "))
            lines.append(line)
    return "\n".join([*lines, ""]) if lines else ""


def main(arguments: list[str]) -> Iterator[str]:
    """Write the page, or say why it should be written."""
    made = page()
    if arguments != ["--check"]:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
        yield f"{PAGE.relative_to(ROOT)} is not what the docstrings say; run `python tools/generate_api.py`"


if __name__ == "__main__":
    sys.exit("\n".join(main(sys.argv[1:])) or None)
