"""File layers that stand between a store and the operating system: they count, kill, fail, or let others in between."""

import errno
import itertools
import os
import signal
import threading
from collections.abc import Callable, Collection
from typing import Any, NoReturn

import attrs

from f1mon_jsonl.disk.files import Files

OPERATIONS = tuple(name for name in vars(Files) if not name.startswith("_"))
"""Every operation that a store asks of its file layer."""

CHANGES = frozenset(
    {"open", "mkdir", "pwrite", "ftruncate", "fdatasync", "fsync", "fsync_directory", "rename", "unlink"}
)
"""Those that change what the disk holds, or make it hold it."""


class Layer(Files):
    """Hands every operation on to the layer below, through `on`."""

    def __init__(self, below: Files | None = None) -> None:
        self.below = below or Files()

    def on(self, name: str, arguments: tuple[Any, ...]) -> Any:
        return getattr(self.below, name)(*arguments)


def _handed_on(name: str) -> Callable[..., Any]:
    def operation(self: Layer, *arguments: Any) -> Any:
        return self.on(name, arguments)

    operation.__name__ = name
    return operation


for _name in OPERATIONS:
    setattr(Layer, _name, _handed_on(_name))


@attrs.frozen
class Operation:
    """One operation of a dry run: its name and, of a write, how many bytes it was given."""

    name: str
    size: int = 0


class Counting(Layer):
    """Notes every operation."""

    def __init__(self, below: Files | None = None) -> None:
        super().__init__(below)
        self.seen: list[Operation] = []

    def on(self, name: str, arguments: tuple[Any, ...]) -> Any:
        self.seen.append(Operation(name, len(arguments[1]) if name == "pwrite" else 0))
        return super().on(name, arguments)


class KilledError(BaseException):
    """Stands for the death of the process; no handler of the store may catch it for good."""


def sigkill() -> NoReturn:
    """Die as `kill -9` makes die: no handler, no clean-up, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")


class Killing(Layer):
    """Dies before operation `at`; where `cut` is given, after that many bytes of the write that it is.

    Args:
        die: How: really, or (the default) by an exception that every later operation raises again.
    """

    def __init__(
        self, at: int, cut: int | None = None, die: Callable[[], NoReturn] | None = None, below: Files | None = None
    ) -> None:
        super().__init__(below)
        self._at = at
        self._cut = cut
        self._die = die
        self._numbers = itertools.count()
        self.dead = False
        self._open: set[int] = set()

    def on(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if self.dead:
            raise KilledError
        if next(self._numbers) == self._at:
            if self._cut is not None and name == "pwrite":
                descriptor, data, offset = arguments
                self.below.pwrite(descriptor, bytes(data)[: self._cut], offset)
            if self._die is not None:
                self._die()
            self.dead = True
            self.bury()
            raise KilledError
        answer = super().on(name, arguments)
        if self._die is None:
            if name == "open":
                self._open.add(answer)
            elif name == "close":
                self._open.discard(arguments[0])
        return answer

    def bury(self) -> None:
        """What the kernel does for the dead: close their descriptors, and with them their locks."""
        for descriptor in self._open:
            self.below.close(descriptor)
        self._open = set()


class Failing(Layer):
    """Answers operation `at`, and in `until_healed` those of its kind behind it, with an error number.

    Args:
        short: Of a write, how many bytes reach the file before it fails; the call answers that count and the
            next write raises, as the operating system does it.
        everything: Fail every operation that `kinds` names, not only those of the kind that failed first.
    """

    def __init__(
        self,
        at: int,
        number: int,
        *,
        short: int | None = None,
        until_healed: bool = False,
        kinds: Collection[str] = OPERATIONS,
        below: Files | None = None,
    ) -> None:
        super().__init__(below)
        self._at = at
        self._error = number
        self._short = short
        self._until_healed = until_healed
        self._kinds = frozenset(kinds)
        self._count = 0
        self._due = False
        self._failing: set[str] = set()
        self.failed = 0
        self.failed_syncs = 0

    def heal(self) -> None:
        """Space returns."""
        self._failing = set()
        self._at = -1
        self._due = False

    def on(self, name: str, arguments: tuple[Any, ...]) -> Any:
        number, self._count = self._count, self._count + 1
        if (self._due and name == "pwrite") or name in self._failing:
            self._due = False
            self._fail(name)
        if number == self._at and name in self._kinds:
            if self._until_healed:
                self._failing = {name, "pwrite"} if self._error == errno.ENOSPC else {name}
            if name == "pwrite" and self._short:
                descriptor, data, offset = arguments
                self._due = True
                self.failed += 1
                return self.below.pwrite(descriptor, bytes(data)[: self._short], offset)
            self._fail(name)
        return super().on(name, arguments)

    def _fail(self, name: str) -> NoReturn:
        self.failed += 1
        raise OSError(self._error, f"{os.strerror(self._error)} (injected into {name})")


class Interleaving(Layer):
    """Lets somebody else act before operation `at`."""

    def __init__(self, at: int, other: Callable[[], None], below: Files | None = None) -> None:
        super().__init__(below)
        self._at = at
        self._other = other
        self._numbers = itertools.count()

    def on(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if next(self._numbers) == self._at:
            self._other()
        return super().on(name, arguments)


class Serial(Layer):
    """Lets one operation at a time through; for a layer below that is not made for threads."""

    def __init__(self, below: Files | None = None) -> None:
        super().__init__(below)
        self._turn = threading.Lock()

    def on(self, name: str, arguments: tuple[Any, ...]) -> Any:
        with self._turn:
            return super().on(name, arguments)
