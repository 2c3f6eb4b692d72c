"""Drift of what the model is asked, and of what it answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from f1mon_core.metrics import drifting, references
from f1mon_core.metrics.drifted import ALPHA, Drift
from f1mon_core.metrics.drifting import DriftQuestion, ReferenceChoice
from f1mon_core.metrics.references import TRAINING, Reference
from f1mon_core.metrics.windows import WindowRequest
from f1mon_core.monitor._sync.running import Running


class Drifting(Running):
    """Windows held against windows, or against what the model was trained on."""

    def drift(
        self,
        model_version: str,
        *,
        reference: ReferenceChoice = None,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        where: Mapping[str, Any] | None = None,
        features: Collection[str] | None = None,
        alpha: float = ALPHA,
        keep: bool = False,
    ) -> Drift:
        """How the features and answers of a window differ from a reference; needs the extra `drift`.

        Numbers are tested by Kolmogorov and Smirnov's, categories by the chi-square test, missing shares by Fisher's;
        the p-values are adjusted by Holm for all tests of all features together. Beside them stand distances: PSI with
        the value that chance alone reaches at these sample sizes, Wasserstein's or Jensen and Shannon's. Predicted
        classes and confidences are compared by cells; features are read from the predictions, one by one.

        Args:
            model_version: The model.
            reference: A window `(since, until)` of predictions that does not overlap; the name of a stored sample
                (`record_reference`), which has no answers to compare; None for the window of the same length before.
            since: The start of the window, by prediction time.
            until: Its end; the present if None.
            last: The newest stretch of time instead.
            where: Only predictions with these segments, as in `performance`, also in the reference.
            features: Only these; `()` for the model's answers alone, for which no prediction is read; None for all.
            alpha: The chance of any false alarm where nothing changed.
            keep: Whether the results are kept as facts, for rules on `drifted_features`, `drift_p_value:<feature>` and
                `drift_statistic:<feature>`: one for each test, with its adjusted p-value.

        Raises:
            InvalidQueryError: If an argument is refused, the two windows overlap, or `keep` comes with `where`.
            MissingExtraError: If scipy is not installed.
            NotFoundError: If no reference of that name is stored.
            PrunedError: If predictions of a window whose features are asked for were pruned.
        """
        request = WindowRequest(model_version=model_version, since=since, until=until, last=last, where=where)
        question = DriftQuestion.of(reference, features, alpha)
        return self._run(drifting.drift(request, question, keep=keep))

    def record_reference(
        self,
        model_version: str,
        sample: Any,
        name: str = TRAINING,
        *,
        features: Collection[str] | None = None,
        add: bool = False,
    ) -> Reference:
        """Keep what a model's features looked like in training, to hold windows against.

        Kept are, of numbers, up to 1,000 values of known rank, fewer where there are more than 24 features; of
        categories the counts of the 256 most frequent. No row is stored, and no prune takes it.

        Args:
            model_version: The model.
            sample: A frame of pandas, polars or Arrow with a column for each feature; a mapping of names to columns;
                or rows, each a mapping.
            name: Under which it is found again; what had this name is replaced.
            features: Only these columns; None for all.
            add: Whether it is added to what has this name, as one part of a large training set after another.

        Raises:
            InvalidRecordError: If the sample is no table, is empty or takes more than 1 MiB; or if it is to be added to
                one of other features.
        """
        return self._run(references.record_reference(model_version, sample, name, features, add=add))

    def references(self, model_version: str | None = None) -> list[Reference]:
        """The stored reference samples of a model, or of all."""
        return self._run(references.listed(model_version))

    def remove_reference(self, model_version: str, name: str = TRAINING) -> None:
        """Remove a stored reference sample. Raises `NotFoundError` if there is none of that name."""
        self._run(references.remove(model_version, name))
