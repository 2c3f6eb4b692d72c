"""`f1mon adopt`: the files of the old system, and an account of what became of them."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from f1mon_core.cli.errors import CannotError
from f1mon_core.cli.output import document
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.legacy.adoption import FileAccount
from f1mon_core.legacy.adoption import adopt as adopt_files


@click.command
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
@pass_place
def adopt(place: Place, directory: Path, *, as_json: bool) -> None:
    """Adopt the old system's files in DIRECTORY; again is harmless, and they stay as they are.

    Exit code 1 if nothing of a file could be adopted, as where it is UTF-16, or what is set aside could not be kept.
    """
    with place.open(create=True) as monitor:
        account = adopt_files(monitor.storage, directory)
    if as_json:
        document(
            {
                "directory": str(directory),
                "files": [_as_document(one) for one in account.files],
                "set_aside_file": None if account.set_aside_file is None else str(account.set_aside_file),
            }
        )
    else:
        click.echo(str(attrs.evolve(account, not_kept=None)))
    said = [account.not_kept, *(one.lost for one in account.files)]
    if told := [one for one in said if one is not None]:
        raise CannotError("; ".join(told))


def _as_document(account: FileAccount) -> dict[str, object]:
    made = attrs.asdict(account, recurse=False)
    made["set_aside"] = [{"line": one.line, "reason": one.reason} for one in account.set_aside]
    return made
