"""How what belongs to one process starts anew in a forked child.

A child inherits neither the threads of its parent nor a right to its locks, connections and event loops: a lock that a
thread held at that moment is held for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar
from weakref import ref

T = TypeVar("T")

_renewed: dict[int, tuple[ref[Any], Callable[[Any], object]]] = {}


def start_anew(thing: T, renew: Callable[[T], object]) -> None:
    """Call `renew(thing)` in every child forked from now on.

    Args:
        thing: What starts anew; it is not kept alive.
        renew: A function that takes it, not a method of it, which would.
    """
    key = id(thing)
    _renewed[key] = (ref(thing, lambda _: _renewed.pop(key, None)), renew)


def _forked() -> None:
    with ExitStack() as every:  # what fails for one keeps none of the others from it
        for reference, renew in reversed(list(_renewed.values())):
            if (thing := reference()) is not None:
                every.callback(renew, thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
