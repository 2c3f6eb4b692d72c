"""The screens: what each asks of the monitor, as plain values for its template."""

from f1mon_core.web.screens import (
    alerts,
    compare,
    deliveries,
    drift,
    incident,
    model,
    models,
    rules,
    segments,
    settling,
    silences,
)
from f1mon_core.web.screens.screen import Screen

SCREENS: tuple[Screen, ...] = (
    Screen("models", "", "models.html", models.find),
    Screen("models-by-name", "models", "models.html", models.find),
    Screen("model", "model", "model.html", model.find),
    Screen("compare", "compare", "compare.html", compare.find),
    Screen("segments", "segments", "segments.html", segments.find),
    Screen("drift", "drift", "drift.html", drift.find),
    Screen("settling", "settling", "settling.html", settling.find),
    Screen("alerts", "alerts", "alerts.html", alerts.find),
    Screen("incident", "incident", "incident.html", incident.find),
    Screen("rules", "rules", "rules.html", rules.find),
    Screen("silences", "silences", "silences.html", silences.find),
    Screen("deliveries", "deliveries", "deliveries.html", deliveries.find),
)

__all__ = ["SCREENS", "Screen"]
