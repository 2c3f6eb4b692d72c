"""Numbers for systems that watch other systems."""

from __future__ import annotations

from datetime import timedelta

from f1mon_core.exporting import gauges
from f1mon_core.exporting.gauges import MAX_MODELS, WINDOW, Gauge
from f1mon_core.exporting.prometheus import exposition
from f1mon_core.monitor._sync.running import Running


class Exporting(Running):
    """How each model does, and whether anybody would hear of it, as gauges with bounded labels."""

    def gauges(
        self, *, last: timedelta | None = WINDOW, horizon: timedelta | None = None, max_models: int = MAX_MODELS
    ) -> list[Gauge]:
        """Accuracy with its interval, counts, coverage, open incidents, overdue rules and the outbox, as of now.

        Args:
            last: The newest stretch of prediction time that models are measured over; None for all of it. Where it
                begins in what was pruned it is from the full hour before.
            horizon: Only predictions that are at least so old, the window ending there; None for all.
            max_models: At most so many, those with the most predictions; `f1mon_models_left_out` counts the rest.

        Raises:
            InvalidQueryError: If an argument is refused.
            PrunedError: If what pruning kept cannot answer.
        """
        return self._run(gauges.gauges(last, horizon, max_models))

    def prometheus(
        self, *, last: timedelta | None = WINDOW, horizon: timedelta | None = None, max_models: int = MAX_MODELS
    ) -> str:
        """The gauges in Prometheus' text format 0.0.4. Arguments and errors as of `gauges`."""
        return exposition(self._run(gauges.gauges(last, horizon, max_models)))
