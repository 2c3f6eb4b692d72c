"""What the fault harness does to stores: short scripts of acts, and what a store must hold after any part of them.

The expected contents come from the memory store, which shares no line with the file backend. Every act has its own
second on the clock, so that an act repeated after a crash is the same act, to the last microsecond.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from f1mon_core.errors import ConflictError, PrunedError
from f1mon_core.records import documents
from f1mon_core.records.fields import Document
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Acknowledgement, Alert, Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_jsonl.format import sealed

START = datetime(2026, 3, 8, 14, 0, tzinfo=UTC)
KEPT = ("kept_tally", "kept_cells")
KINDS = ("prediction", "outcome", "alert", "acknowledgement", *KEPT)
"""The kinds that scenarios write; of the others `check` must count none."""

Progress: TypeAlias = tuple[int, ...]
"""How many acts of each lane are done."""


class ActClock:
    """Answers the second of the act that this thread is at."""

    def __init__(self) -> None:
        self._local = threading.local()

    def set(self, second: int) -> None:
        self._local.second = second

    def __call__(self) -> datetime:
        return START + timedelta(seconds=getattr(self._local, "second", 0))


@attrs.frozen
class Act:
    """One call on a store.

    Attributes:
        refused: The error it must raise, which changes nothing.
        handle: Which of the process's handles makes the call.
    """

    name: str
    do: Callable[[Any], object]
    refused: type[Exception] | None = None
    handle: int = 0

    def __call__(self, store: Any) -> None:
        if self.refused is None:
            self.do(store)
            return
        try:
            self.do(store)
        except self.refused:
            return
        raise AssertionError(f"{self.name} was not refused with {self.refused.__name__}")


@attrs.frozen
class Scenario:
    """A script.

    Attributes:
        before: Acts done in peace, by a handle that is then closed.
        lanes: Acts under fault, each lane in a thread of its own where there are several.
        damage: Done to the directory between the two; must take nothing from it that was acknowledged.
        path: Where the store lies in the scratch directory.
        one_second: Whether all acts under fault happen in one second: of appends that go together, one reads the clock.
    """

    name: str
    lanes: tuple[tuple[Act, ...], ...]
    before: tuple[Act, ...] = ()
    damage: Callable[[Path], None] | None = None
    durability: str = "commit"
    path: str = "store"
    one_second: bool = False
    _known: dict[Progress, "Contents"] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def whole(self) -> Progress:
        return tuple(map(len, self.lanes))

    def second(self, lane: int, number: int) -> int:
        """The second of an act under fault."""
        return 1_000 if self.one_second else 1_000 * (lane + 1) + number

    def expected(self, progress: Progress) -> "Contents":
        """What a store must hold after some acts of each lane, and of one more: `LAST`."""
        if progress not in self._known:
            clock = ActClock()
            store = MemoryStorage(clock=clock)
            self.prepare(store, clock)
            for lane, done in enumerate(progress):
                for number, act in enumerate((*self.lanes, LAST)[lane][:done]):
                    clock.set(self.second(lane, number))
                    act(store)
            self._known[progress] = contents(store)
        return self._known[progress]

    def prepare(self, store: Any, clock: ActClock) -> None:
        """Do what happens in peace."""
        for number, act in enumerate(self.before):
            clock.set(number)
            act(store)


@attrs.frozen
class Contents:
    """All that a store shows, canonical; sums of kept cells to nine places, for they may round differently."""

    facts: tuple[tuple[str, str], ...]
    state: tuple[tuple[str, str], ...]
    cells: tuple[str, ...]

    def against(self, expected: "Contents") -> str:
        """How this differs from what was expected."""
        mine, theirs = [*self.facts, *self.state], [*expected.facts, *expected.state]
        parts = [f"lost {_short(item)}" for item in theirs if item not in mine]
        parts += [f"phantom {_short(item)}" for item in mine if item not in theirs]
        parts += [f"{mine.count(item)} times {_short(item)}" for item in set(mine) if mine.count(item) > 1]
        if not parts and self.facts != expected.facts:
            parts.append("facts in another order")
        if self.cells != expected.cells:
            parts.append("another tally")
        return "; ".join(parts[:6]) or "nothing differs"


def _short(item: tuple[str, str]) -> str:
    return f"{item[0]} {item[1][:120]}"


def contents(store: Storage) -> Contents:
    """Everything a store shows through its verbs."""
    facts = []
    for kind in KINDS:
        for fact in store.find(Select(kind)):
            document = documents.to_document(fact)
            facts.append((kind, canonical(_rounded(document) if kind in KEPT else document)))
    state = tuple((key, canonical(document)) for key, document in store.state("").items())
    cells = tuple(
        sorted(
            repr((tuple(key), moments.n, moments.minimum, moments.maximum, round(moments.total, 9) + 0.0))
            for key, moments in store.tally(TallyQuery(bins=10)).cells.items()
        )
    )
    return Contents(tuple(facts), state, cells)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 9) + 0.0
    if isinstance(value, list):
        return sorted(map(_rounded, value), key=repr)
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return value


class Handles:
    """The handles of one process on one store, opened when first used."""

    def __init__(self, opened: Callable[[ActClock], Any], clock: ActClock) -> None:
        self._opened = opened
        self._turn = threading.Lock()
        self.clock = clock
        self.open: dict[int, Any] = {}

    def __getitem__(self, number: int) -> Any:
        with self._turn:
            if number not in self.open:
                self.open[number] = self._opened(self.clock)
            return self.open[number]

    def drop(self, number: int) -> None:
        """Close a handle; the next use opens a fresh one."""
        self.open.pop(number).close()

    def close(self) -> None:
        for store in self.open.values():
            store.close()


def perform(
    scenario: Scenario,
    handles: Handles,
    *,
    begin: Callable[[int], None] = lambda _: None,
    acknowledge: Callable[[int], None] = lambda _: None,
    since: Progress | None = None,
) -> None:
    """Do the acts under fault, and tell of each when it begins and when it is acknowledged."""
    start = since or (0,) * len(scenario.lanes)

    def lane(number: int) -> None:
        for position in range(start[number], len(scenario.lanes[number])):
            act = scenario.lanes[number][position]
            handles.clock.set(scenario.second(number, position))
            store = handles[act.handle]
            begin(number)
            act(store)
            acknowledge(number)

    if len(scenario.lanes) == 1:
        lane(0)
        return
    handles[0]  # the lanes share it
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            lane(number)
        except BaseException as error:  # noqa: BLE001 - raised again where the lanes meet
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(len(scenario.lanes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def possible(acknowledged: Progress, begun: Progress) -> Iterator[Progress]:
    """Every progress between what was acknowledged and what had begun, the furthest first."""
    ranges = [range(high, low - 1, -1) for low, high in zip(acknowledged, begun, strict=True)]
    return itertools.product(*ranges)


# Acts ----------------------------------------------------------------------------------------------------------------


def prediction(name: str, hour: float = 0.0, **changes: Any) -> Prediction:
    """A prediction with features, made `hour` hours after the start."""
    number = sum(name.encode())
    fields: dict[str, Any] = {
        "prediction_id": name,
        "model_version": f"v{number % 2}",
        "predicted_outcome": number % 3,
        "confidence": (number % 64) / 64,
        "features": {"grid": number % 20, "circuit": "Österreich \U0001f3c1"},
        "at": START + timedelta(hours=hour),
    }
    return Prediction(**{**fields, **changes})


def append(*facts: Any, handle: int = 0, refused: type[Exception] | None = None) -> Act:
    name = f"append {len(facts)} {facts[0].kind}"
    return Act(name, lambda store: store.append(facts), refused, handle)


def alert(name: str) -> Alert:
    return Alert(
        alert_id=name,
        severity="critical",
        title="accuracy fell",
        message="from 0.8 to 0.5",
        metric_name="accuracy",
        component="model",
        model_version="v1",
        metric_value=0.5,
    )


def counted(key: str, operation: str, handle: int = 0) -> Act:
    """A transition that counts, and appends an alert and a document for its delivery."""

    def step(state: dict[str, Any] | None, now: datetime) -> Change:
        count = (state or {}).get("count", 0) + 1
        name = f"{key}-{operation}"
        return Change(
            state={"count": count, "last": int(now.timestamp()), "holds": [name] if count % 2 else []},
            facts=[alert(name)],
            also={f"delivery/{name}": {"due": count}},
            result=count,
        )

    return Act(f"transition {key}", lambda store: store.transition(key, step, operation_id=operation), handle=handle)


def forget(key: str, operation: str) -> Act:
    """A transition that deletes its document."""
    return Act(
        f"delete {key}",
        lambda store: store.transition(key, lambda _, __: Change(state=None, result="gone"), operation_id=operation),
    )


def prune(hour: float, handle: int = 0) -> Act:
    return Act(f"prune {hour:g} h", lambda store: store.prune(START + timedelta(hours=hour)), handle=handle)


def compact(handle: int = 0) -> Act:
    return Act("compact", lambda store: getattr(store, "compact", lambda: None)(), handle=handle)


def restore(what: str, records: Sequence[Document]) -> Act:
    return Act(f"restore {what}", lambda store: store.restore(records))


# Scenarios -----------------------------------------------------------------------------------------------------------

_RACES = tuple(prediction(f"race-{number}", hour=number / 2) for number in range(5))
_BATCH = tuple(prediction(f"lap-{number}", hour=8 + number / 60) for number in range(6))
_OUTCOMES = tuple(Outcome(prediction_id=one.prediction_id, actual_outcome=1, at=one.at) for one in _RACES[:2])

_SEASON = (
    append(*_RACES),
    append(*_OUTCOMES),
    counted("rule/a", "w1"),
    counted("rule/b", "w1"),
    append(Acknowledgement(alert_id="rule/a-w1", by="ann")),
)
"""A store with something of everything."""

BIRTH = Scenario("birth", ((append(prediction("p1")), append(prediction("p2"))),), path="data/monitoring")
SINGLES = Scenario(
    "singles",
    (
        (
            append(prediction("p2")),
            append(prediction("p3", features={})),
            append(prediction("p2")),
            append(prediction("p2", confidence=0.125), refused=ConflictError),
        ),
    ),
    before=(append(prediction("p1")),),
)
OUTCOMES = Scenario(
    "outcomes",
    (
        (
            append(Outcome(prediction_id="p1", actual_outcome=1)),
            append(Outcome(prediction_id="p1", actual_outcome=1)),
            append(Outcome(prediction_id="p1", actual_outcome=2)),
            append(Outcome(prediction_id="early", actual_outcome=0)),
        ),
    ),
    before=(append(prediction("p1")),),
)
BATCHES = Scenario(
    "batches",
    (
        (
            append(*_BATCH),
            append(*_BATCH[:3], prediction("lap-new")),
            append(prediction("never"), prediction("lap-1", confidence=0.5), refused=ConflictError),
        ),
    ),
    before=_SEASON[:1],
)
TRANSITIONS = Scenario(
    "transitions",
    (
        (
            counted("rule/a", "w3"),
            counted("rule/a", "w3"),
            forget("rule/b", "w2"),
            counted("rule/b", "w3"),
        ),
    ),
    before=_SEASON,
)
PRUNING = Scenario(
    "pruning",
    (
        (
            prune(2),
            append(prediction("race-1", hour=0.5), refused=PrunedError),
            append(prediction("after", hour=9)),
            prune(1),
        ),
    ),
    before=_SEASON,
)
COMPACTION = Scenario(
    "compaction",
    ((compact(), append(prediction("after", hour=9)), counted("rule/a", "w4"), compact()),),
    before=_SEASON,
)
TWO_HANDLES = Scenario(
    "two handles",
    (
        (
            append(prediction("one", hour=9)),
            append(prediction("two", hour=9), handle=1),
            compact(handle=1),
            append(prediction("three", hour=9)),
            counted("rule/a", "w5", handle=1),
            prune(2),
            append(prediction("four", hour=9), handle=1),
        ),
    ),
    before=_SEASON,
)
FIRST_LINES = Scenario(
    "first lines",
    (
        (
            append(prediction("one", hour=9)),
            append(prediction("two", hour=9), handle=1),
            append(prediction("one", hour=9), handle=2),
            counted("rule/a", "w8", handle=3),
            append(prediction("three", hour=9), handle=2),
        ),
    ),
    before=_SEASON,
)
"""Handles that write one line each, and one that repeats what is there before its first."""


def as_format_1(directory: Path) -> None:
    """Damage that is none: the journal as an f1mon of contract 1 began it."""
    journal = journal_of(directory)
    header, lines = journal.read_bytes().split(b"\n", 1)
    older = header[: header.index(b',"crc"')].replace(b'"format":2', b'"format":1')
    journal.write_bytes(sealed(older) + lines)


UPGRADE = Scenario(
    "upgrade",
    (
        (
            append(prediction("race-1", hour=0.5)),
            append(prediction("race-1", model_version="another", segments={"track": "Spa"})),
            append(prediction("one", hour=9), handle=1),
        ),
    ),
    before=_SEASON,
    damage=as_format_1,
)


def _carried() -> tuple[Sequence[Document], Sequence[Document]]:
    """The pages of a store, and of the same store after a prune."""
    clock = ActClock()
    store = MemoryStorage(clock=clock)
    for number, act in enumerate(_SEASON):
        clock.set(number)
        act(store)
    whole = store.dump().records
    prune(2)(store)
    append(prediction("race-1", hour=9, model_version="another"))(store)
    return whole, store.dump().records


_WHOLE, _PRUNED = _carried()
RESTORING = Scenario(
    "restoring",
    (
        (
            restore("all", _WHOLE),
            restore("all", _WHOLE),
            append(prediction("own", hour=9)),
            restore("what is left", _PRUNED),
            append(prediction("race-0"), refused=PrunedError),
        ),
    ),
)
GROUP_COMMIT = Scenario(
    "group commit",
    tuple(tuple(append(prediction(f"{lane}{number}", hour=lane)) for number in range(3)) for lane in range(3)),
    before=_SEASON[:1],
    one_second=True,
)
OS_DURABILITY = attrs.evolve(SINGLES, name="durability os", durability="os", known={})

LAST = (append(prediction("last", hour=48)),)
"""What every store must take in the end, whatever it went through: an append that repeats nothing."""

PLAIN = (
    BIRTH,
    SINGLES,
    OUTCOMES,
    BATCHES,
    TRANSITIONS,
    PRUNING,
    COMPACTION,
    TWO_HANDLES,
    FIRST_LINES,
    UPGRADE,
    RESTORING,
)
"""Scenarios of one thread under durability="commit"."""


def journal_of(directory: Path) -> Path:
    """The one journal in a store's directory."""
    (found,) = directory.glob("journal.jsonl")
    return found


def torn_by(tail: bytes) -> Callable[[Path], None]:
    """Damage: bytes that a writer left at the end when it died."""

    def tear(directory: Path) -> None:
        with journal_of(directory).open("ab") as file:
            file.write(tail)

    return tear


def recoveries(line: bytes, cuts: Sequence[int]) -> list[Scenario]:
    """Scenarios that begin with a torn tail, for each thing a writer may do first.

    Args:
        line: What a writer was about to append.
        cuts: How many bytes of it reached the file.
    """
    firsts = (
        (append(prediction("lap-0", hour=8)), append(prediction("lap-1", hour=8 + 1 / 60))),
        (counted("rule/a", "w6"), counted("rule/a", "w7")),
        (prune(2), append(prediction("after", hour=9))),
        (compact(), append(prediction("after", hour=9))),
    )
    tails = {f"{cut} of {len(line)} bytes": line[:cut] for cut in cuts}
    tails["zeros"] = bytes(len(line))
    tails["half and zeros"] = line[: len(line) // 2] + bytes(len(line) - len(line) // 2)
    return [
        Scenario(f"recovery from {name}, {acts[0].name}", (acts,), before=_SEASON, damage=torn_by(tail))
        for name, tail in tails.items()
        for acts in firsts
    ]


@contextlib.contextmanager
def closing(handles: Handles) -> Iterator[Handles]:
    try:
        yield handles
    finally:
        handles.close()
