"""Names of a package that are imported when they are first asked for.

What only an event loop needs brings `asyncio` along, and with it `ssl`, `subprocess` and forty modules more, which a
program without a loop never uses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def names(package: str, **modules: str) -> Callable[[str], Any]:
    """A package's `__getattr__` (PEP 562).

    It stands in the `else` of an `if TYPE_CHECKING:` that imports the same names: type checkers and readers see these,
    and a name that there is not stays an error to them.

    Args:
        package: The `__name__` of the package.
        **modules: For each name the module that defines it.
    """

    def get(name: str) -> Any:
        if (module := modules.get(name)) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        found = getattr(import_module(module), name)
        setattr(sys.modules[package], name, found)
        return found

    return get
