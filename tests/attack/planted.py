"""Stores that break their word, each in one way; the harness must find it."""

from typing import ClassVar

from f1mon_core import open_storage


class Broken:
    """A store that passes on whatever it is asked."""

    def __init__(self, address):
        self._address = address
        self._store = open_storage(address)

    def __getattr__(self, name):
        return getattr(self._store, name)


class Early(Broken):
    """Acknowledges an append before it is committed: with the next call."""

    _owed = ()

    def append(self, facts):
        answer = type(self)._answer(facts := list(facts))
        self._owed, owed = facts, self._owed
        self._store.append(owed)
        return answer

    @staticmethod
    def _answer(facts):
        from f1mon_core.storage import Appended  # noqa: PLC0415 - the worker's process has it already

        return Appended(len(facts))

    def close(self):
        self._store.append(self._owed)
        self._store.close()


class Half(Broken):
    """Writes an append as two."""

    def append(self, facts):
        facts = list(facts)
        self._store.append(facts[:1])
        return self._store.append(facts[1:])


class Twice(Broken):
    """Forgets which operations it has seen, so that a repeated claim is another one."""

    _number = 0

    def transition(self, key, step, *, operation_id):
        self._number += 1

        def without_facts(document, now):
            import attrs  # noqa: PLC0415 - as above

            return attrs.evolve(step(document, now), facts=())

        return self._store.transition(key, without_facts, operation_id=f"{operation_id}-{self._number}")


class Leaky(Broken):
    """Keeps a store open that it opened beside its own."""

    kept: ClassVar = []

    def append(self, facts):
        if len(self.kept) < 3:
            self.kept.append(open_storage(self._address))
            self.kept[-1].state("x")
        return self._store.append(facts)


class Holding(Broken):
    """Leaves a transaction open where a call was interrupted."""

    def append(self, facts):
        try:
            return self._store.append(facts)
        except KeyboardInterrupt:
            import sqlite3  # noqa: PLC0415 - as above

            raw = sqlite3.connect(self._address.partition(":///")[2], isolation_level=None)
            raw.execute("BEGIN")
            raw.execute("SELECT count(*) FROM f1mon_predictions").fetchall()
            Leaky.kept.append(raw)
            raise


FAULTS = {"early": Early, "half": Half, "twice": Twice, "leaky": Leaky, "holding": Holding}
