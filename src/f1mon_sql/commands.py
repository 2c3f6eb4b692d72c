"""`f1mon db`: the schema of a database store."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import click

from f1mon_core.errors import ConfigurationError
from f1mon_core.storage.environment import from_environment
from f1mon_core.storage.registry import require_existing
from f1mon_sql import backend, grafana
from f1mon_sql.connect.target import target_of
from f1mon_sql.schema import upgrading, versions

BEHIND = 1
"""The exit code for a schema that is not what it should be."""


def _address(ctx: click.Context, _parameter: click.Parameter, given: str | None) -> str:
    """The address: this command's, else the one of `f1mon --url`, else what the environment says."""
    url = given or getattr(ctx.find_root().obj, "url", None)
    if url is None:
        _, options = from_environment(os.environ)
        url = options.get("url")
    if url is None:
        raise ConfigurationError("which database? give --url, or set F1MON_URL")
    return str(url)


url_option = click.option("--url", metavar="ADDRESS", callback=_address, help="The database, as of `f1mon --url`.")


@click.group
def db() -> None:
    """Look at and upgrade the schema of a database store."""


@db.command
@url_option
@click.option("--revision", default="head", show_default=True, help="To which revision; an older one goes back.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for someone else's upgrade.")
def upgrade(url: str, revision: str, timeout: float) -> None:
    """Bring the schema to this f1mon's; safe to run again, and from several places at once."""
    done = upgrading.upgrade(url, revision, lock_timeout=timeout, announce=partial(click.echo, err=True))
    click.echo(f"{target_of(url).address}: {done.before or 'none'} -> {done.after or 'none'}")


@db.command
@url_option
@click.pass_context
def current(ctx: click.Context, url: str) -> None:
    """Show the schema's revision; exit code 1 if it is not this f1mon's, or there is no database."""
    require_existing(backend, {"url": url, "tables": False})
    revision = upgrading.current(url)
    version = versions.version_of(revision)
    click.echo(f"{revision or 'none'} ({_WORDS[version]})")
    if version is not versions.Version.CURRENT:
        ctx.exit(BEHIND)


@db.command
@url_option
@click.pass_context
def check(ctx: click.Context, url: str) -> None:
    """Compare tables and views with what they should be; exit code 1 if they differ, or there is no database."""
    require_existing(backend, {"url": url, "tables": False})
    upgrading.require_current(url)
    differences = upgrading.drift(url)
    for one in differences:
        click.echo(one)
    click.echo(f"{target_of(url).address}: {'as it should be' if not differences else 'differs'}", err=True)
    if differences:
        ctx.exit(BEHIND)


@db.command
def history() -> None:
    """List the revisions of the schema, oldest first."""
    for one in upgrading.history():
        click.echo(f"{one.revision}  {one.summary}")


@click.command("grafana")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@url_option
@click.option("--user", metavar="NAME", help="As whom Grafana connects; one that may only read is enough.")
@click.option("--at", "place", metavar="PATH", help="Where Grafana sees DIRECTORY; its own path if not given.")
def grafana_command(directory: Path, url: str, user: str | None, place: str | None) -> None:
    """Write a dashboard for Grafana, and what makes it load that, into DIRECTORY.

    Mount DIRECTORY/provisioning as Grafana's, or copy its files there. The password is read by Grafana from the
    variable F1MON_GRAFANA_PASSWORD. A database file is read by the plugin frser-sqlite-datasource.
    """
    target = target_of(url)
    seen = PurePosixPath(place) if place else directory.absolute()
    content = grafana.files(target, str(seen / "dashboards"), user)
    try:
        for path in grafana.written(directory, content, partial(json.dumps, indent=2)):
            click.echo(path)
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be written: {error.strerror or error}") from error


_WORDS: dict[Any, str] = {
    versions.Version.NONE: "no tables of f1mon",
    versions.Version.OLDER: "older: run f1mon db upgrade",
    versions.Version.CURRENT: "current",
    versions.Version.NEWER: "newer: update f1mon",
}
