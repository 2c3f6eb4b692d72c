"""The names others may use stand in `public_names.txt`: none goes, comes or changes without that file saying so.

`python tests/packaging/test_public_names.py` renews it. Where a name is defined is not in it, so code may move.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from dataclasses import MISSING, is_dataclass
from dataclasses import fields as fields_of
from datetime import timedelta
from importlib.metadata import distribution
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TypeVar

import attrs
import click

import f1mon_core
from f1mon_core.cli import f1mon

LIST = Path(__file__).with_name("public_names.txt")
PACKAGES = ("f1mon_core", "f1mon_jsonl", "f1mon_sql")
LASTING = (
    "appending",
    "backends",
    "channels",
    "codec",
    "delivery",
    "errors",
    "folding",
    "legacy",
    "monitor",
    "records",
    "rules",
    "storage",
    "tally",
    "testing",
    "times",
    "validation",
)
"""The modules of core that stay importable until 1.0, with every name that was ever listed for them."""
APART = ("f1mon_core.cli", "f1mon_core.legacy", "f1mon_core.testing")
"""Whose inner modules nobody imports; the last two show their names on top, under their own."""


def listed():
    return LIST.read_text().splitlines() if LIST.exists() else []


def public_names():
    """Every line of the list, as the code has it now."""
    yield from (f"f1mon_core: {name}" for name in f1mon_core.__all__)
    for name in LASTING:
        yield from names_of(importlib.import_module(f"f1mon_core.{name}"))
    for name in PACKAGES[1:]:
        yield from names_of(importlib.import_module(name))
    for prefix, things in users_classes().items():
        for thing in things:
            yield from lines_of(f"{prefix}{thing.__name__}", thing)
    yield from (signature(f"f1mon_core.{one.__name__}", one) for one in shown("f1mon_core") if inspect.isfunction(one))
    yield from commands("f1mon", f1mon)
    yield from (f"entry point {one.group}: {one.name}" for one in distribution("f1mon").entry_points)
    yield from texts()


def names_of(module):
    """What a module shows or defines; and what was listed for it and still is there, wherever it is defined now."""
    known = [line.partition(": ")[2] for line in listed() if line.startswith(f"{module.__name__}: ")]
    names = {*getattr(module, "__all__", defined(module)), *(name for name in known if hasattr(module, name))}
    # A module that took the name of a function would not be what was listed.
    meant = [name for name in names if not isinstance(getattr(module, name), TypeVar | ModuleType)]
    return [f"{module.__name__}: {name}" for name in meant if not name.startswith("_")]


def defined(module):
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = [one for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]
            yield from (one.id for one in named if isinstance(one.ctx, ast.Store))


def users_classes():
    """Public classes by what their names begin with in the list."""
    return {
        "": {thing for module in open_modules() for thing in classes(vars(module).values())},
        "legacy.": classes(shown("f1mon_core.legacy")),
        "testing.": classes(shown("f1mon_core.testing")),
    }


def open_modules():
    """The backends' packages, and every module of core that is reached without an underscore."""
    yield from map(importlib.import_module, PACKAGES)
    for found in pkgutil.walk_packages(f1mon_core.__path__, "f1mon_core."):
        if not found.name.startswith(APART) and "._" not in found.name:
            yield importlib.import_module(found.name)


def shown(name):
    module = importlib.import_module(name)
    return [getattr(module, one) for one in module.__all__]


def classes(things):
    return {one for one in things if isinstance(one, type) and ours(one) and not one.__name__.startswith("_")}


def ours(thing):
    return thing.__module__.partition(".")[0] in PACKAGES


def lines_of(name, thing):
    """A class: what an error is besides, how it is made, and its public members."""
    if issubclass(thing, BaseException):
        bases = {base.__name__ for base in thing.__mro__[1:-1]} - {"BaseException", "Exception"}
        yield f"{name} is a {', '.join(sorted(bases)) or 'Exception'}"
    yield made(name, thing)
    own = {one: None for base in thing.__mro__ if ours(base) for one in vars(base)}
    for member in sorted(own.keys() - defaults_of(thing).keys()):
        if not member.startswith(("_", "test_")):
            yield of_member(f"{name}.{member}", inspect.getattr_static(thing, member))


def made(name, thing):
    if hasattr(thing, "_fields"):
        return signature(name, thing.__new__, defaults_of(thing))
    home = next(one for one in thing.__mro__ if "__init__" in vars(one))
    if not ours(home) or getattr(thing, "_is_protocol", False):
        return name
    return signature(name, thing.__init__, defaults_of(thing))


def defaults_of(thing):
    """What is declared as the default of each field; nothing for a class without fields."""
    if attrs.has(thing):
        return {field.alias: field.default for field in attrs.fields(thing)}
    if is_dataclass(thing):
        return {
            field.name: field.default if field.default_factory is MISSING else attrs.Factory(field.default_factory)
            for field in fields_of(thing)
        }
    return dict.fromkeys(getattr(thing, "_fields", ())) | getattr(thing, "_field_defaults", {})


def of_member(name, member):
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    if inspect.isfunction(member):
        return signature(name, member)
    return f"{name} = {shown_value(member)}" if isinstance(member, SIMPLE) else name


def signature(name, function, declared=MappingProxyType({})):
    """Names, kinds and defaults; annotations are the type checker's."""
    kept = []
    for one in inspect.signature(function).parameters.values():
        if one.name not in {"self", "cls"} and not one.name.startswith("_"):
            default = one.default if one.default is one.empty else Shown(declared.get(one.name, one.default))
            kept.append(one.replace(annotation=one.empty, default=default))
    return f"{name}{inspect.Signature(kept)}{' async' if inspect.iscoroutinefunction(function) else ''}"


class Shown:
    """A default as `inspect` is to show it."""

    def __init__(self, default):
        self.default = default

    def __repr__(self):
        return shown_value(self.default)


SIMPLE = (str, int, float, tuple, timedelta, type(None))


def shown_value(default):
    """A value without addresses and modules, the same in every Python."""
    if isinstance(default, attrs.Factory):
        name = getattr(default.factory, "__name__", "_")
        return "made" if name.startswith(("_", "<")) else f"{name}()"
    if isinstance(default, timedelta):
        return f"<{default}>"
    return repr(default) if isinstance(default, SIMPLE) else getattr(default, "__name__", type(default).__name__)


def commands(path, command):
    yield path
    for one in command.params:
        names = " ".join([*one.opts, *one.secondary_opts])
        choices = f" [{'|'.join(map(str, one.type.choices))}]" if isinstance(one.type, click.Choice) else ""
        marks = [mark for mark in ("required", "is_flag", "multiple", "hidden") if getattr(one, mark, False)]
        yield " ".join([f"{path}: {one.param_type_name} {names}{choices}", *marks])
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(f"{path} {name}", command.get_command(context, name))


def texts():
    """Names that are nothing but text of the source: environment variables, loggers, groups of entry points."""
    root = Path(f1mon_core.__file__).parents[1]
    source = "\n".join(path.read_text() for package in PACKAGES for path in (root / package).rglob("*.py"))
    for what, pattern in {
        "environment": r"\b(?:F1MON|MONITORING_DB|ALERT_EMAIL|ALERT_SLACK)_[A-Z_]*",
        "logger": r'getLogger\("(f1mon[^"]*)"\)',
        "group": r'_GROUP = "([^"]+)"',
    }.items():
        yield from (f"{what} {name}" for name in set(re.findall(pattern, source)))


def renewed():
    return sorted(set(public_names()))


def test_the_public_names_are_those_of_the_list():
    now, then = set(renewed()), set(listed())
    changed = [*(f"- {line}" for line in sorted(then - now)), *(f"+ {line}" for line in sorted(now - then))]
    assert not changed, "\n".join(changed)


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for line in renewed()))
