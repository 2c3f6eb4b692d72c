"""How a backend stands the contract, as the end of a text, as JSON, as a page, and as one line for a README."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs

from f1mon_core.storage.registry import Backend
from f1mon_core.testing.contract import LAWS, Verdict
from f1mon_core.testing.laws.base import CLAIMS
from f1mon_core.testing.location import Colour


@attrs.frozen
class Report:
    """What a run of the kit found.

    Attributes:
        backend: The backend, with its claims.
        colour: How it was held.
        verdicts: One for each law that was asked, in the order of the contract.
        seconds: How long they took.
        left: Options in which fresh names stood of places that nobody took away.
    """

    backend: Backend
    colour: Colour
    verdicts: Sequence[Verdict]
    seconds: float
    left: Sequence[str] = ()

    @property
    def counted(self) -> Counter[str]:
        """How many laws have each status."""
        return Counter(verdict.status for verdict in self.verdicts)

    @property
    def ok(self) -> bool:
        """Whether every law that was asked holds or is not claimed."""
        return not self.counted["fail"] and not self.counted["skipped"]

    @property
    def claims(self) -> list[str]:
        """What the backend claims."""
        return [claim for claim in CLAIMS if getattr(self.backend, claim)]

    @property
    def badge(self) -> str | None:
        """One line to print in a README; None unless every law of the contract was asked, and none was broken."""
        if not self.ok or len(self.verdicts) != len(LAWS):
            return None
        claims = ", ".join(self.claims) or "none"
        return f"f1mon contract {self.backend.contract}, {self.counted['pass']} laws, claims: {claims}"

    def notes(self) -> list[str]:
        """What a reader must know beside the verdicts."""
        notes = [f"not claimed: {meaning}" for claim, meaning in CLAIMS.items() if claim not in self.claims]
        if not self.counted["not claimed"]:
            notes = []
        if self.left:
            notes.append(
                f"left behind: what the laws stored under fresh names of {', '.join(self.left)}, which backend "
                f"{self.backend.name!r} has no way to take away: give it Backend.fresh"
            )
        return notes

    def headline(self) -> str:
        """All verdicts in one line."""
        counted = self.counted
        skipped = f"{counted['skipped']} skipped, " if counted["skipped"] else ""
        return (
            f"{self.backend.name}, {self.colour}: {counted['pass']} laws hold, {counted['fail']} fail, "
            f"{counted['not claimed']} not claimed, {skipped}in {self.seconds:.1f} s"
        )

    def summary(self) -> str:
        """What ends a report in text."""
        asked, all_laws = len(self.verdicts), len(LAWS)
        last = self.badge or (f"no badge: {asked} of {all_laws} laws were asked" if asked < all_laws else "no badge")
        return "\n".join(["", self.headline(), *self.notes(), last])

    def json(self) -> str:
        """The report as a JSON object; `badge` is null where there is none."""
        return json.dumps(
            {
                "backend": self.backend.name,
                "contract": self.backend.contract,
                "colour": self.colour,
                "claims": self.claims,
                "ok": self.ok,
                "badge": self.badge,
                "seconds": round(self.seconds, 1),
                "counts": dict(self.counted),
                "notes": self.notes(),
                "laws": [_described(verdict) for verdict in self.verdicts],
            },
            ensure_ascii=False,
            indent=1,
        )

    def page(self) -> str:
        """The report as a page of HTML that needs nothing else."""
        # What is broken stands first: it is what the page is opened for.
        order = ("fail", "skipped", "not claimed", "pass")
        verdicts = sorted(self.verdicts, key=lambda verdict: order.index(verdict.status))
        rows = "\n".join(map(_row, verdicts))
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes())
        badge = f"<p><code>{html.escape(self.badge)}</code></p>" if self.badge else ""
        return _PAGE.format(
            title=html.escape(f"{self.backend.name}: f1mon contract {self.backend.contract}"),
            headline=html.escape(self.headline()),
            badge=badge,
            notes=notes,
            rows=rows,
        )


def _described(verdict: Verdict) -> dict[str, Any]:
    described: dict[str, Any] = {"law": verdict.law, "status": verdict.status, "claims": [*verdict.claims]}
    if verdict.reason:
        described["reason"] = verdict.reason
    if verdict.failure is not None:
        described["failure"] = attrs.asdict(verdict.failure)
    return described


def _row(verdict: Verdict) -> str:
    law = html.escape(verdict.law.replace("_", " ") + "".join(f" ({claim})" for claim in verdict.claims))
    why = str(verdict.failure or verdict.reason)
    more = f"<pre>{html.escape(why)}</pre>" if why else ""
    return f'<tr class="{verdict.status.replace(" ", "-")}"><td>{verdict.status}</td><td>{law}{more}</td></tr>'


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.4 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
td {{ border-top: 1px solid #ccc; padding: .3em .5em; vertical-align: top }}
td:first-child {{ white-space: nowrap }}
pre {{ background: #f4f4f4; overflow-x: auto; padding: .5em }}
.fail td:first-child {{ color: #b00020; font-weight: bold }}
.skipped td:first-child, .not-claimed td:first-child {{ color: #666 }}
</style>
<h1>{title}</h1>
<p>{headline}</p>
{badge}{notes}
<table>
{rows}
</table>
</html>"""
