"""Drift of a window against a reference, as it is answered: by feature, with verdicts that know how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

import attrs

from f1mon_core.metrics import drift_tests
from f1mon_core.metrics.drift_tests import Change, Test
from f1mon_core.metrics.references import Reference
from f1mon_core.metrics.samples import Sample
from f1mon_core.metrics.windows import Window
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import time_id
from f1mon_core.records.kinds import DriftResult
from f1mon_core.text import html_table, printable, told_segments

ALPHA = 0.05
"""The chance of any false alarm where nothing changed."""
PREDICTION, CONFIDENCE = "predicted_outcome", "confidence"
"""What cells answer for, beside the features."""

DriftSort: TypeAlias = Literal["number", "category", "prediction", "confidence"]

_DISTANCES: Mapping[str, str] = {"number": "wasserstein"}


@attrs.frozen
class DriftTest:
    """A test of one feature.

    Attributes:
        method: "ks" for numbers, "chi2" for categories, predicted classes and bins of the confidence, "missing_share".
        statistic: The test's own: D, chi-square, by how much the missing share grew.
        p_value: As the test says it.
        adjusted: By Holm, for all tests of all features together.
        drifted: Whether `adjusted` lies below alpha.
    """

    method: str
    statistic: float
    p_value: float
    adjusted: float
    drifted: bool

    def to_dict(self) -> Document:
        """As a JSON object."""
        return attrs.asdict(self)


@attrs.frozen
class Held:
    """How many values a feature has, and how many are missing: null, not there, or of another sort."""

    n: int
    missing: int

    @property
    def missing_share(self) -> float | None:
        """The missing share; None of nothing."""
        return self.missing / (self.n + self.missing) if self.n + self.missing else None


@attrs.frozen
class FeatureDrift:
    """How one feature of the window differs from the reference.

    Attributes:
        name: The feature; `predicted_outcome` and `confidence` are the model's own answers.
        sort: "number" or "category", as most values of the reference are; "prediction" or "confidence".
        reference, current: What was compared.
        tests: That of its values last; none where there is nothing to test.
        psi: The population stability index over deciles of the reference, or over categories.
        psi_threshold: What it exceeds by chance, in at most alpha of the cases for all features together.
        distance: Wasserstein's, in the feature's unit, of numbers; else the Jensen-Shannon distance, in [0, 1].
        reason: Why its values were not tested.
    """

    name: str
    sort: DriftSort
    reference: Held
    current: Held
    tests: tuple[DriftTest, ...]
    psi: float | None
    psi_threshold: float | None
    distance: float | None
    reason: str | None

    @property
    def drifted(self) -> bool:
        """Whether any of its tests says so."""
        return any(one.drifted for one in self.tests)

    @property
    def distance_name(self) -> str:
        """Which distance it is: "wasserstein" or "jensen_shannon"."""
        return _DISTANCES.get(self.sort, "jensen_shannon")

    @property
    def strongest(self) -> DriftTest | None:
        """The test that speaks loudest; None without one."""
        return min(self.tests, key=lambda one: one.adjusted, default=None)

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {
            "name": self.name,
            "sort": self.sort,
            "drifted": self.drifted,
            "reference": attrs.asdict(self.reference),
            "current": attrs.asdict(self.current),
            "tests": [one.to_dict() for one in self.tests],
            "psi": self.psi,
            "psi_threshold": self.psi_threshold,
            self.distance_name: self.distance,
            "reason": self.reason,
        }


@attrs.frozen
class Drift(Mapping[str, FeatureDrift]):
    """A window of predictions against a reference, feature by feature in the order of their names.

    Where nothing changed, the chance that any feature is called drifted is at most `alpha`: the p-values are adjusted
    over all of them. The tests take rows as independent; where they come in groups, as the cars of one race, they see
    changes that are none.

    Attributes:
        window: The window that was looked at.
        reference: What it was held against: another window, or a stored sample.
        features: Name to its drift.
        alpha: As asked.
        looks: How many tests there are; p-values are adjusted for so many.
        read: How many predictions were read for it, of both windows.
        left_out: Feature, or part of the answer, to why it is not there.
        kept: The facts that were kept, where that was asked.
    """

    window: Window
    reference: Window | Reference
    features: Mapping[str, FeatureDrift]
    alpha: float
    looks: int
    read: int
    left_out: Mapping[str, str]
    kept: tuple[DriftResult, ...] = ()

    def __getitem__(self, name: str) -> FeatureDrift:
        return self.features[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def drifted(self) -> list[str]:
        """The features that a test calls drifted."""
        return [name for name, one in self.features.items() if one.drifted]

    @property
    def model_version(self) -> str:
        """The model."""
        return str(self.window.model_version)

    def results(self, now: datetime, run: str) -> list[DriftResult]:
        """The facts it comes to, one for each test: adjusted p-values, with the rest in the metadata.

        Of one feature that of its values is last, so it is the one that rules on `drift_p_value:` and
        `drift_statistic:` go by.
        """
        found: list[DriftResult] = []
        shared: Document = {
            "source": "f1mon",
            "adjustment": "holm",
            "looks": self.looks,
            "window": self.window.to_dict(),
        }
        shared["reference"] = _named(self.reference)
        for one in self.features.values():
            about = {name: value for name, value in one.to_dict().items() if name not in {"name", "drifted", "tests"}}
            for test in one.tests:
                fact = DriftResult(
                    model_version=self.model_version,
                    feature=one.name,
                    detected=test.drifted,
                    method=test.method,
                    statistic=test.statistic,
                    p_value=test.adjusted,
                    threshold=self.alpha,
                    metadata={**shared, "p_value": test.p_value, "feature": about},
                    drift_id=f"{time_id(now, run)}-{len(found):05d}",
                )
                found.append(fact)
        return found

    def to_dict(self) -> Document:
        """As a JSON object; times in ISO 8601."""
        return {
            "model_version": self.model_version,
            "window": self.window.to_dict(),
            "reference": self.reference.to_dict(),
            "alpha": self.alpha,
            "adjustment": "holm",
            "looks": self.looks,
            "read": self.read,
            "left_out": dict(self.left_out),
            "drifted": list(self.drifted),
            "features": [one.to_dict() for one in self.features.values()],
        }

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library with a row for each feature; what is missing is null.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        rows = [(one, _values_test(one)) for one in self.features.values()]
        columns: dict[str, tuple[str, list[Any]]] = {
            "feature": ("text", [one.name for one, _ in rows]),
            "sort": ("text", [one.sort for one, _ in rows]),
            "drifted": ("flag", [one.drifted for one, _ in rows]),
            "method": ("text", [test and test.method for _, test in rows]),
            "statistic": ("number", [test and test.statistic for _, test in rows]),
            "p_value": ("number", [test and test.p_value for _, test in rows]),
            "adjusted": ("number", [test and test.adjusted for _, test in rows]),
            "psi": ("number", [one.psi for one, _ in rows]),
            "psi_threshold": ("number", [one.psi_threshold for one, _ in rows]),
            "distance": ("number", [one.distance for one, _ in rows]),
            "n_reference": ("integer", [one.reference.n for one, _ in rows]),
            "n_current": ("integer", [one.current.n for one, _ in rows]),
            "missing_reference": ("number", [one.reference.missing_share for one, _ in rows]),
            "missing_current": ("number", [one.current.missing_share for one, _ in rows]),
            "reason": ("text", [one.reason for one, _ in rows]),
        }
        return frame_of(columns, library)

    def __str__(self) -> str:
        if not self.looks:
            said = "nothing could be tested"
        else:
            named = ", ".join(self.drifted[:5]) + (", …" if len(self.drifted) > 5 else "")  # noqa: PLR2004
            said = f"{len(self.drifted)} of {len(self)} features drifted" + (f": {named}" if named else "")
        against = f"{_told(self.window)} against {_told(self.reference)}"
        return printable(
            f"{self.model_version}, {against}: {said} (Holm over {self.looks} tests, alpha {self.alpha:g})"
        )

    def _repr_html_(self) -> str:
        left = [f"Left out: {name}: {why}." for name, why in self.left_out.items()]
        notes = [f"p-values adjusted by Holm over {self.looks} tests, alpha {self.alpha:g}. Times are UTC.", *left]
        return html_table(str(self), DRIFT_HEADER, map(drift_row, self.features.values()), notes)


DRIFT_HEADER = ("feature", "drifted", "test", "statistic", "p adjusted", "PSI", "by chance up to", "distance",
                "missing before", "missing now", "n before", "n now")  # fmt: skip


def drift_row(one: FeatureDrift) -> tuple[object, ...]:
    """A feature as a row under `DRIFT_HEADER`: its strongest test, or the reason why there is none."""
    test = one.strongest
    return (
        one.name,
        None if test is None else "yes" if one.drifted else "no",
        f"({one.reason})" if test is None else test.method,
        None if test is None else f"{test.statistic:.4g}",
        None if test is None else f"{test.adjusted:.3g}",
        *(None if value is None else f"{value:.4f}" for value in (one.psi, one.psi_threshold)),
        None if one.distance is None else f"{one.distance:.4g}",
        *(None if side.missing_share is None else f"{side.missing_share:.1%}" for side in (one.reference, one.current)),
        one.reference.n,
        one.current.n,
    )


def _named(reference: Window | Reference) -> Document:
    """Which reference it was, without what it holds: it stands in every fact."""
    if isinstance(reference, Window):
        return reference.to_dict()
    return {"name": reference.name, "rows": reference.rows, "recorded_at": reference.recorded_at.isoformat()}


def _values_test(one: FeatureDrift) -> DriftTest | None:
    return next((test for test in reversed(one.tests) if test.method != "missing_share"), None)


def _told(of: Window | Reference) -> str:
    if isinstance(of, Reference):
        return f"reference {of.name} ({of.rows} rows)"
    since = "the beginning" if of.since is None else f"{of.since:%Y-%m-%d %H:%M}"
    until = "the present" if of.until is None else f"{of.until:%Y-%m-%d %H:%M}"
    where = f" where {told_segments(of.where)}" if of.where else ""
    return f"[{since}, {until}) UTC{where}"


@attrs.frozen
class Compared:
    """Two samples of one feature, before the verdict."""

    name: str
    sort: DriftSort
    reference: Sample
    current: Sample


def judged(compared: list[Compared], alpha: float) -> tuple[dict[str, FeatureDrift], int]:
    """What the tests say of each feature, adjusted over all of them; and how many tests there are."""
    found: list[tuple[Compared, Change, list[Test]]] = []
    for one in compared:
        change = drift_tests.change(one.reference, one.current)
        absent = drift_tests.missing(one.reference, one.current)
        found.append((one, change, [test for test in (absent, change.test) if test is not None]))
    adjusted = iter(drift_tests.holm(test.p_value for _, _, tests in found for test in tests))
    share = alpha / max(1, len(found))
    features: dict[str, FeatureDrift] = {}
    for one, change, tests in found:
        said = [(test, next(adjusted)) for test in tests]
        features[one.name] = FeatureDrift(
            one.name,
            one.sort,
            Held(one.reference.n, one.reference.missing),
            Held(one.current.n, one.current.missing),
            tuple(DriftTest(test.method, test.statistic, test.p_value, p, p < alpha) for test, p in said),
            change.psi,
            drift_tests.psi_threshold(one.reference.n, one.current.n, change.psi_bins, share),
            change.distance,
            change.reason,
        )
    return features, sum(len(tests) for _, _, tests in found)
