"""State: a step decides under the writers' lock, and one line holds the facts, the documents and the result."""

from __future__ import annotations

from f1mon_core.records.fields import Document, Json
from f1mon_core.records.json_text import encoded
from f1mon_core.records.times import to_micros
from f1mon_core.storage.change import Change, Step, checked_change, due_of
from f1mon_jsonl.format import decode_document
from f1mon_jsonl.index.state import State
from f1mon_jsonl.verbs.append import append
from f1mon_jsonl.writer import Session


def transition(session: Session, key: str, step: Step, operation_id: str) -> Json:
    """See `Storage.transition`."""
    present = session.view.index.state
    if (known := present.result(key, operation_id)) is not None:
        return decode_document(known)  # type: ignore[no-any-return]
    stored = present.documents.get(key)
    change = checked_change(step(None if stored is None else decode_document(stored), session.now))
    append(session, change.facts)
    if documents := _changed(present, key, change):
        session.members.append(("state", encoded(documents)))  # type: ignore[arg-type]
    session.members.append(("operations", encoded([[key, operation_id, to_micros(session.now), change.result]])))
    return change.result


def _changed(present: State, key: str, change: Change) -> dict[str, Document | None]:
    """The documents that a change stores, by key; None for one that it deletes."""
    changed: dict[str, Document | None] = {}
    if change.state is not None or key in present.documents:
        changed[key] = change.state
    for other, document in change.also.items():
        taken = change.state is not None if other == key else other in present.documents
        if not taken:
            changed[other] = document
    return changed


def state(present: State, prefix: str, due: int | None, limit: int | None, after: str | None) -> dict[str, Document]:
    """See `Storage.state`; `due` in microseconds."""
    found: dict[str, Document] = {}
    for key, text in present.documents_from(prefix, after):
        if limit is not None and len(found) >= limit:
            break
        document = decode_document(text)
        if due is None or ((own := due_of(document)) is not None and own < due):
            found[key] = document
    return found
