"""The journal's lines: JSON objects in ASCII, each ending in a checksum of itself.

A line is one transaction. Its last member is `crc`, the CRC-32 (as in zlib, eight lower-case hexadecimal digits) of
all bytes before `,"crc"`. The members:

    n           its number in this generation, from 1, without gaps
    synced      up to which byte the writer knew the journal to be on the disk
    facts       the documents of the facts it appends (`f1mon_core.records.documents`)
    state       state documents by key; null deletes one
    operations  [key, operation id, instant, result] of transitions
    results     [instant, result] of operations that were restored, by `storage.change.operation_digest`
    horizons    before when each kind was pruned, microseconds since 1970
    pruned_keys         ids of predictions that were pruned, by model version
    pruned              ids that were pruned under every model, by an f1mon of contract 1
    stands_until, outcomes_until        as `storage.dumping.StoreRecord` has them, microseconds since 1970
    restored_from       the store it was restored from; the horizons and instants of the line are then all there are

The first line is the header: `f1mon`, `format`, `store` (an id), `generation` (rises with each compaction), `crc`.

Formats: 1 has labels that are integers, one prediction an id, and none of `results`, `pruned_keys`, `stands_until` and
`restored_from`. It is read as it is. The first write to such a journal rewrites it, header included, as a compaction
does, before anything of format 2 is written: an f1mon that knows format 1 alone meets another header, also where it has
the journal open, and refuses it ("update f1mon") instead of dropping what it does not know.

Why CRC-32: within a line it detects every error of one or two bits and every burst of up to 32 bits, which is what
storage does to a file, and lets one in 4e9 of any other damage through; a line is accepted only if it also is framed
by newlines, ends in the exact bytes of its checksum (compared as text: `A` is not `a`) and bears the next number. It
costs 0.1 us a line, where a cryptographic digest costs 1 us and would guard against forgers, who can write the
journal anyway.
"""

from __future__ import annotations

import json
import secrets
import zlib
from typing import Any

import msgspec

from f1mon_core.records.fields import Document
from f1mon_core.records.json_text import encoded

FORMAT = 2
READABLE = frozenset({1, FORMAT})
"""The formats that are read; only `FORMAT` is written."""

_FRAME = b',"crc":"'
_TAIL = len(_FRAME) + 8 + 2
"""Bytes from the checksum's frame to the end of a line without its newline."""


class Gist(msgspec.Struct, gc=False):
    """What tallies and look-ups need of a fact; features and metadata are passed over, not decoded.

    Out of sight of the garbage collector, as all structs here: or opening takes a fifth longer.
    """

    kind: str
    v: int
    at: int
    recorded_at: int
    prediction_id: str = ""
    model_version: str = ""
    predicted_outcome: int | str = 0
    confidence: float = 0.0
    actual_outcome: int | str = 0
    segments: dict[str, int | str] | None = None


_BEGINNING = b'{"f1mon":"journal"'
_COMMON = ("kind", "v", "at", "recorded_at")


class Transaction(msgspec.Struct, gc=False):
    """A transaction as the index reads it."""

    n: int
    synced: int = 0
    facts: tuple[Gist, ...] = ()
    state: dict[str, msgspec.Raw] | None = None
    operations: tuple[tuple[str, str, int, msgspec.Raw], ...] = ()
    horizons: dict[str, int] | None = None
    results: dict[str, tuple[int, msgspec.Raw]] | None = None
    outcomes_until: int | None = None
    stands_until: int | None = None
    pruned: tuple[str, ...] = ()
    pruned_keys: dict[str, tuple[str, ...]] | None = None
    restored_from: str | None = None


class RawTransaction(msgspec.Struct, gc=False):
    """A transaction whose facts stay as they are written."""

    n: int
    facts: tuple[msgspec.Raw, ...] = ()


class Header(msgspec.Struct, gc=False):
    """The first line."""

    f1mon: str
    format: int
    store: str
    generation: int


decode_line = msgspec.json.Decoder(Transaction).decode
decode_lines = msgspec.json.Decoder(Transaction).decode_lines
decode_raw_line = msgspec.json.Decoder(RawTransaction).decode
decode_header = msgspec.json.Decoder(Header).decode
decode_document = msgspec.json.decode
decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def sealed(body: bytes) -> bytes:
    """A line of the bytes of a JSON object without its closing brace: with checksum and newline."""
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def intact(line: bytes) -> bool:
    """Whether a line, without its newline, is what `sealed` made."""
    body = line[:-_TAIL]
    return line[-_TAIL:] == b',"crc":"%08x"}' % zlib.crc32(body)


def header_line(store: str | None = None, generation: int = 1) -> bytes:
    """The first line of a journal; of a new store without a `store` id."""
    header: Document = {
        "f1mon": "journal",
        "format": FORMAT,
        "store": store or secrets.token_hex(16),
        "generation": generation,
    }
    return sealed(encoded(header)[:-1].encode())


def might_be_header(tail: bytes) -> bool:
    """Whether the start of a file that is no header can be one that was being written when the power went."""
    if tail.startswith(b"\0"):  # its end reached the disk before its beginning; nothing is written behind it unsynced
        return len(tail) <= len(header_line())
    written = tail.rstrip(b"\0")
    return written.startswith(_BEGINNING) or _BEGINNING.startswith(written)


def transaction_line(number: int, synced: int, members: list[tuple[str, str]]) -> bytes:
    """A line of members given as JSON text."""
    text = "".join([f',"{name}":{value}' for name, value in members])
    return sealed(f'{{"n":{number},"synced":{synced}{text}'.encode("ascii"))


def decode_any_line(line: bytes) -> Transaction:
    """A transaction, also one in which facts of other kinds hold members that `Gist` types differently.

    Raises:
        msgspec.MsgspecError, KeyError, TypeError, AttributeError: If it is none.
    """
    try:
        return decode_line(line)
    except msgspec.ValidationError:
        return decode_anyhow(line)


def decode_anyhow(line: bytes) -> Transaction:
    """The slow way: members that `Gist` has no use for are left out first."""
    document = decode_object(line)
    document["facts"] = [
        fact if fact.get("kind") in {"prediction", "outcome"} else {name: fact[name] for name in _COMMON}
        for fact in document.get("facts", ())
    ]
    return decode_line(json.dumps(document).encode())
