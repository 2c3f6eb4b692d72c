"""`f1mon drift`: hold each model against a reference, keep the results, and say by the exit code whether one moved."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from f1mon_core.cli.errors import FIRED, said
from f1mon_core.cli.output import document, table
from f1mon_core.cli.parameters import Window, exit_zero_option, instant_of, json_option, quiet_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk, warn
from f1mon_core.cli.window import asked
from f1mon_core.errors import F1monError
from f1mon_core.metrics.drifted import ALPHA, DRIFT_HEADER, Drift, drift_row
from f1mon_core.metrics.drifting import ReferenceChoice
from f1mon_core.text import printable

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])


@click.command
@json_option
@click.option("--window", type=Window(), default="7d", show_default=True, help="90m, 24h, 7d, 2w, … or all.")
@click.option("--model-version", metavar="V", help="Only this model, not each that has predictions then.")
@click.option("--reference", metavar="NAME", help="Against this stored sample, such as training.")
@click.option(
    "--baseline",
    type=_DAY,
    nargs=2,
    metavar="SINCE UNTIL",
    help="Against this window (2026-05-01 is midnight UTC); else the one of the same length before.",
)
@click.option("--feature", "features", multiple=True, metavar="NAME", help="Only this feature; repeatable.")
@click.option("--answers", is_flag=True, help="Only what the model answered; then no feature is read.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=ALPHA,
    show_default=True,
    help="The chance of any false alarm of one model where nothing changed.",
)
@click.option("--dry-run", is_flag=True, help="Keep no result; rules on drift then do not see it.")
@exit_zero_option
@quiet_option
@pass_place
def drift(
    place: Place,
    *,
    as_json: bool,
    window: timedelta | None,
    model_version: str | None,
    reference: str | None,
    baseline: tuple[datetime, datetime] | None,
    features: tuple[str, ...],
    answers: bool,
    alpha: float,
    dry_run: bool,
    exit_zero: bool,
) -> None:
    """Say which features and answers of each model moved, and keep the results for rules; for cron.

    The tests are Kolmogorov and Smirnov's for numbers, chi-square for categories, Fisher's for missing values; their
    p-values are adjusted by Holm over all features of a model. Needs the extra `drift`.

    Exit code 3 if anything drifted, 0 if nothing did; 1 if a model could not be looked at, whatever the others did.
    """
    if answers and features:
        raise click.UsageError("--answers reads no feature; not with --feature")
    if reference is not None and baseline is not None:
        raise click.UsageError("--reference and --baseline are two ways to say against what; give one")
    against: ReferenceChoice = reference
    if baseline is not None:
        against = (instant_of(baseline[0]), instant_of(baseline[1]))
    found: list[Drift] = []
    failed: F1monError | None = None
    with place.open() as monitor:
        models = [model_version] if model_version else asked(monitor, window).models
        wanted = () if answers else features or None
        for one in models:
            try:
                found.append(
                    monitor.drift(one, reference=against, last=window, features=wanted, alpha=alpha, keep=not dry_run)
                )
            except F1monError as error:
                warn(printable(f"warning: {one}: {error}"))
                failed = error
    _show(found, as_json=as_json)
    if not models:
        talk("no predictions in this window: nothing was compared")
    if failed is not None:
        raise said(failed)
    if any(one.drifted for one in found) and not exit_zero:
        raise click.exceptions.Exit(FIRED)


def _show(found: list[Drift], *, as_json: bool) -> None:
    if as_json:
        document([one.to_dict() | {"kept": [fact.drift_id for fact in one.kept]} for one in found])
        return
    rows = [(one.model_version, *drift_row(feature)) for one in found for feature in one.values()]
    if rows:
        table(("model", *DRIFT_HEADER), rows, right=range(4, 13))
    for one in found:
        # A cron job that can never say anything must not look like one that found nothing.
        (talk if one.looks else warn)(str(one))
        for name, why in one.left_out.items():
            talk(printable(f"{one.model_version}: {name} left out: {why}"))
        if one.kept:
            talk(printable(f"{one.model_version}: {len(one.kept)} results kept"))
