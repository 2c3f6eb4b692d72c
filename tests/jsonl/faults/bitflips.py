"""Every bit of a small journal, flipped: what a store then shows must be true, and what it misses must be reported."""

from collections.abc import Iterator
from pathlib import Path

import attrs

from f1mon_core.errors import StorageError
from f1mon_core.records.kinds import Acknowledgement, Outcome

from .scenarios import (
    KEPT,
    Act,
    ActClock,
    Contents,
    Scenario,
    append,
    contents,
    counted,
    forget,
    journal_of,
    prediction,
)
from .verdict import Findings, opener, prepared, replica

SMALL = Scenario(
    "small journal",
    ((),),
    before=(
        append(prediction("p1"), prediction("p2")),
        append(Outcome(prediction_id="p1", actual_outcome=1)),
        counted("r", "1"),
        counted("r", "2"),
        append(Acknowledgement(alert_id="r-1", by="ann")),
        counted("s", "1"),
        forget("s", "2"),
        append(prediction("p3", features={})),
    ),
)


def past(scenario: Scenario) -> Iterator[Contents]:
    """All that the store ever held."""
    for number in range(len(scenario.before) + 1):
        yield attrs.evolve(scenario, before=scenario.before[:number], known={}).expected((0,))


@attrs.frozen
class Flips:
    """A share of the bits of the journal: every so-manieth from the first."""

    first: int
    step: int

    def __call__(self, home: Path) -> Findings:
        base = home / "flipped"
        base.mkdir(exist_ok=True)
        prepared(SMALL, base)
        journal = journal_of(base / SMALL.path)
        good = journal.read_bytes()
        truths = list(past(SMALL))
        findings = Findings()
        for bit in range(self.first, 8 * len(good), self.step):
            journal.write_bytes(flipped(good, bit))
            findings.note(named(good, bit), silently_wrong(base, truths))
        return findings


@attrs.frozen
class FlipsBelowAHandle:
    """Bits that flip when a handle has read them, before it rewrites the journal: it must not seal what rotted."""

    first: int
    step: int
    rewrite: Act

    def __call__(self, home: Path) -> Findings:
        whole = home / "whole"
        whole.mkdir(exist_ok=True)
        good = journal_of(prepared(SMALL, whole) / SMALL.path).read_bytes()
        after = attrs.evolve(SMALL, before=(*SMALL.before, self.rewrite), known={})
        truths = [*past(SMALL), after.expected((0,))]
        findings = Findings()
        for bit in range(self.first, 8 * len(good), self.step):
            base = replica(whole, home / "flipped")
            clock = ActClock()
            clock.set(len(SMALL.before))
            store = opener(SMALL, base)(clock)
            journal_of(base / SMALL.path).write_bytes(flipped(good, bit))
            try:
                self.rewrite(store)
                wrong = []
            except StorageError:
                wrong = []  # it says that it cannot
            except Exception as error:  # noqa: BLE001 - whatever else a store raises here is a finding
                wrong = [f"{self.rewrite.name} raised {type(error).__name__}: {error}"]
            store.close()
            where = f"{named(good, bit)}, then {self.rewrite.name}"
            findings.note(where, wrong + silently_wrong(base, truths))
        return findings


def flipped(good: bytes, bit: int) -> bytes:
    """A journal with one bit flipped."""
    changed = bytearray(good)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def named(good: bytes, bit: int) -> str:
    """A bit, and the byte that it belongs to."""
    return f"bit {bit % 8} of byte {bit // 8} ({good[bit // 8 : bit // 8 + 1]!r})"


def silently_wrong(base: Path, truths: list[Contents]) -> list[str]:
    """What a damaged store shows that was never so, and what it misses without a word.

    Where a line was lost and says so, a prune keeps the cells of the others.
    """
    try:
        store = opener(SMALL, base)(ActClock())
        try:
            found, problems, damage = contents(store), store.check().problems, store.damage
        finally:
            store.close()
    except StorageError:
        return []  # it says that it cannot be read
    except Exception as error:  # noqa: BLE001 - whatever else a store raises here is a finding
        return [f"{type(error).__name__}: {error}"]
    whole = truths[-1]
    facts = {one for truth in truths for one in truth.facts}
    documents = {one for truth in truths for one in truth.state}
    shown = [fact for fact in found.facts if not (problems and fact[0] in KEPT)]
    wrong = [f"shows {fact}" for fact in shown if fact not in facts]
    wrong += [f"shows the document {one}" for one in found.state if one not in documents]
    if damage is None and any(one.severity == "error" for one in problems):
        wrong.append(f"answers without a warning: {problems}")
    wrong += ["shows a fact twice"] * (len(set(found.facts)) != len(found.facts))
    if (found.facts, found.state) != (whole.facts, whole.state) and not problems:
        wrong.append(f"does not report: {found.against(whole)}")
    return wrong
