"""A dashboard for Grafana over the views, and what makes Grafana load it: the files of its provisioning.

JSON is YAML too, so no library is needed to write either. Neither file holds a password: Grafana reads it from its own
environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from f1mon_core.errors import ConfigurationError
from f1mon_sql.connect.target import Target

PASSWORD = "F1MON_GRAFANA_PASSWORD"  # noqa: S105 - the name of a variable
"""The variable of Grafana's environment that the data source takes its password from."""
UID = "f1mon"

_PLUGINS = {"postgresql": "grafana-postgresql-datasource", "mysql": "mysql", "sqlite": "frser-sqlite-datasource"}
_PORTS = {"postgresql": 5432, "mysql": 3306}
_SSL = ("disable", "require", "verify-ca", "verify-full")
_DAY_MILLISECONDS = 86_400_000
_Z = 1.959963984540054
"""The normal quantile of a 95 % interval."""


def files(target: Target, dashboards: str, user: str | None = None) -> dict[str, Any]:
    """What to write: the path of each file, below a directory, to its content.

    Args:
        target: The database.
        dashboards: Where Grafana finds the directory `dashboards` of it.
        user: As whom Grafana connects; of the address if None. One that may only read is enough, and better.
    """
    return {
        "provisioning/datasources/f1mon.yaml": {"apiVersion": 1, "datasources": [data_source(target, user)]},
        "provisioning/dashboards/f1mon.yaml": {
            "apiVersion": 1,
            "providers": [{"name": "f1mon", "type": "file", "options": {"path": _literal(dashboards)}}],
        },
        "dashboards/f1mon.json": dashboard(target.family, _schema(target)),
    }


def _schema(target: Target) -> str:
    """The schema of PostgreSQL that the address names, in quotes and with its dot; nothing where it names none."""
    first = target.session.settings.get("search_path", "").partition(",")[0].strip().strip('"')
    return '"{}".'.format(first.replace('"', '""')) if first else ""


def _literal(text: str) -> str:
    """A text that Grafana takes as it is: it would put variables in where a dollar stands."""
    return text.replace("$", "$$")


def data_source(target: Target, user: str | None = None) -> dict[str, Any]:
    """The data source as Grafana's provisioning describes one. Raises `ConfigurationError` where there is no file."""
    made: dict[str, Any] = {"name": "f1mon", "uid": UID, "type": _PLUGINS[target.family], "access": "proxy"}
    if target.family == "sqlite":
        if (file := target.database_file) is None:
            raise ConfigurationError("Grafana reads a database file, and this address names none")
        return {**made, "jsonData": {"path": _literal(str(file.absolute()))}}
    url = target.url
    details = {"database": _literal(url.database or "")}
    if target.family == "postgresql":
        asked = str(url.query.get("sslmode", ""))
        details["sslmode"] = asked if asked in _SSL else "require" if target.encrypted else "disable"
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or "localhost"
    return {
        **made,
        "url": _literal(f"{host}:{url.port or _PORTS[target.family]}"),
        "user": _literal(user or url.username or ""),
        "jsonData": details,
        "secureJsonData": {"password": f"${{{PASSWORD}}}"},
    }


# Queries --------------------------------------------------------------------------------------------------------------


def _within(family: str, column: str) -> str:
    """The rows of the time that Grafana shows."""
    if family == "sqlite":
        return f"strftime('%s', {column}) * 1000 BETWEEN $__from AND $__to"
    return f"$__timeFilter({column})"


_TIME: Mapping[str, Callable[[str], str]] = {
    "sqlite": lambda column: f"CAST(strftime('%s', {column}) AS INTEGER)",
    "postgresql": lambda column: f"{column}::timestamp AT TIME ZONE 'UTC'",
    "mysql": lambda column: f"CAST({column} AS DATETIME)",
}
_SEGMENT = {
    "sqlite": """json_extract(segments, '$."' || ${segment:sqlstring} || '"')""",
    "postgresql": "segments::json ->> ${segment:sqlstring}",
    "mysql": """JSON_UNQUOTE(JSON_EXTRACT(segments, CONCAT('$."', ${segment:sqlstring}, '"')))""",
}
_MODELS = "model_version IN (${model:sqlstring})"


# What pruning kept of a day: the cells of its hours, `[predicted, actual | null, bin, count, …]`, labels compared with
# their type. MariaDB finds two JSON_EXTRACTs unequal that are both '"yes"', so there it is their bytes and their type.
_KEPT = {
    "sqlite": """SELECT date(f.at / 1000000, 'unixepoch') AS day, f.key_1 AS model_version,
        json_extract(c.value, '$[3]') AS predictions,
        CASE WHEN json_type(c.value, '$[1]') = 'null' THEN 0 ELSE json_extract(c.value, '$[3]') END AS labelled,
        CASE WHEN json_extract(c.value, '$[0]') = json_extract(c.value, '$[1]')
        THEN json_extract(c.value, '$[3]') ELSE 0 END AS correct
        FROM f1mon_facts f, json_each(f.content, '$.cells') c WHERE f.kind = 'kept_tally'""",
    "postgresql": """SELECT
        ((TIMESTAMPTZ '1970-01-01T00:00:00Z' + f.at * INTERVAL '1 microsecond') AT TIME ZONE 'UTC')::date AS day,
        f.key_1 AS model_version, (c ->> 3)::bigint AS predictions,
        CASE WHEN c ->> 1 IS NULL THEN 0 ELSE (c ->> 3)::bigint END AS labelled,
        CASE WHEN (c -> 0)::text = (c -> 1)::text THEN (c ->> 3)::bigint ELSE 0 END AS correct
        FROM {schema}f1mon_facts f, json_array_elements(f.content::json -> 'cells') c WHERE f.kind = 'kept_tally'""",
    "mysql": """SELECT DATE(TIMESTAMPADD(MICROSECOND, f.at, CAST('1970-01-01' AS DATETIME(6)))) AS day,
        CONVERT(f.key_1 USING utf8mb4) AS model_version, c.n AS predictions,
        CASE WHEN c.actual IS NULL THEN 0 ELSE c.n END AS labelled,
        CASE WHEN CAST(c.predicted AS BINARY) = CAST(c.actual AS BINARY)
        AND JSON_TYPE(JSON_EXTRACT(f.content, CONCAT('$.cells[', c.r - 1, '][0]')))
        = JSON_TYPE(JSON_EXTRACT(f.content, CONCAT('$.cells[', c.r - 1, '][1]'))) THEN c.n ELSE 0 END AS correct
        FROM f1mon_facts f, JSON_TABLE(f.content, '$.cells[*]' COLUMNS (r FOR ORDINALITY,
        predicted VARCHAR(1024) PATH '$[0]', actual VARCHAR(1024) PATH '$[1]', n BIGINT PATH '$[3]')) c
        WHERE f.kind = 'kept_tally'""",
}


def _days(family: str, schema: str) -> str:
    """Each model's days, what is stored and what pruning kept together: one day may be half of either."""
    return f"""(SELECT day, model_version, SUM(predictions) AS predictions, SUM(labelled) AS labelled,
        SUM(correct) * 1e0 / NULLIF(SUM(labelled), 0) AS accuracy FROM (
        SELECT day, model_version, predictions, labelled, correct FROM {schema}f1mon_daily_accuracy_v
        UNION ALL {_KEPT[family].replace("{schema}", schema)}) apart GROUP BY day, model_version) days"""


def queries(family: str, schema: str = "") -> dict[str, str]:
    """Every query of the dashboard, by the name of its panel, as one family of databases has it.

    Args:
        family: sqlite, postgresql or mysql.
        schema: What stands before the names of the views.
    """
    time, day = _TIME[family], _within(family, "day")
    # Wilson's interval, by the same formula as everywhere in f1mon.
    scale, z2 = f"(1 + {_Z * _Z!r} / labelled)", repr(_Z * _Z)
    centre = f"(accuracy + {z2} / (2e0 * labelled)) / {scale}"
    half = f"{_Z!r} * SQRT(accuracy * (1e0 - accuracy) / labelled + {z2} / (4e0 * labelled * labelled)) / {scale}"
    made, days = _within(family, "predicted_at"), _days(family, schema)
    return {
        "accuracy": f"""SELECT {time("day")} AS time, model_version AS metric, accuracy,
        {centre} - {half} AS low, {centre} + {half} AS high
        FROM {days} WHERE labelled > 0 AND {day} AND {_MODELS} ORDER BY day""",
        "coverage": f"""SELECT {time("day")} AS time, model_version AS metric, labelled * 1e0 / predictions AS labelled
        FROM {days} WHERE {day} AND {_MODELS} ORDER BY day""",
        "predictions": f"""SELECT {time("day")} AS time, model_version AS metric, predictions
        FROM {days} WHERE {day} AND {_MODELS} ORDER BY day""",
        "labels": f"""SELECT model_version, predicted_outcome, actual_outcome, COUNT(*) AS predictions,
        AVG(confidence) AS mean_confidence
        FROM {schema}f1mon_predictions_v WHERE {made} AND {_MODELS}
        GROUP BY model_version, predicted_outcome, actual_outcome
        ORDER BY model_version, predicted_outcome, actual_outcome""",
        "segments": f"""SELECT {_SEGMENT[family]} AS value, model_version, COUNT(*) AS predictions,
        COUNT(correct) AS labelled, AVG(correct * 1e0) AS accuracy
        FROM {schema}f1mon_predictions_v WHERE {made} AND {_MODELS}
        GROUP BY {_SEGMENT[family]}, model_version ORDER BY accuracy""",
        "alerts": f"""SELECT at, severity, model_version, metric_name, title, message, acknowledged_at, acknowledged_by
        FROM {schema}f1mon_alerts_v WHERE {_within(family, "at")} ORDER BY at DESC""",
        "annotations": f"""SELECT {time("at")} AS time, title AS text, severity AS tags
        FROM {schema}f1mon_alerts_v WHERE {_within(family, "at")} ORDER BY at""",
        "models": f"SELECT DISTINCT model_version FROM {days} ORDER BY 1",
    }


# The dashboard --------------------------------------------------------------------------------------------------------


def dashboard(family: str, schema: str = "") -> dict[str, Any]:
    """The dashboard's JSON model. Arguments as of `queries`."""
    asked = queries(family, schema)

    def panel(name: str, title: str, place: tuple[int, int, int, int], text: str, **rest: Any) -> dict[str, Any]:
        x, y, width, height = place
        return {
            "id": list(asked).index(name) + 1,
            "title": title,
            "description": text,
            "datasource": _source(family),
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "targets": [_target(family, asked[name], table=rest["type"] == "table")],
            **rest,
        }

    def lines(unit: str, **custom: Any) -> dict[str, Any]:
        ends = {"min": 0, "max": 1} if unit == "percentunit" else {"min": 0}
        # A line across a winter break is a lie.
        drawn = {"showPoints": "always", "spanNulls": False, "insertNulls": _DAY_MILLISECONDS * 3 // 2, **custom}
        return {"defaults": {"unit": unit, "custom": drawn, **ends}, "overrides": []}

    accuracy = lines("percentunit")
    accuracy["overrides"] = [
        {
            "matcher": {"id": "byRegexp", "options": "/^(low|high)/"},
            "properties": [
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [4, 4]}},
                {"id": "custom.showPoints", "value": "never"},
            ],
        }
    ]
    return {
        "uid": UID,
        "title": "f1mon",
        "tags": ["f1mon"],
        "schemaVersion": 39,
        "timezone": "utc",
        "time": {"from": "now-90d", "to": "now"},
        "editable": True,
        "templating": {"list": [_models(family, asked["models"]), _segment()]},
        "annotations": {"list": [_annotation(family, asked["annotations"])]},
        "panels": [
            panel(
                *("accuracy", "Accuracy by day of prediction, with its 95 % interval (Wilson)", (0, 0, 16, 9)),
                "Of a day's predictions whose outcome is known, pruned ones too. None is a gap. Days are UTC.",
                type="timeseries",
                fieldConfig=accuracy,
            ),
            panel(
                *("coverage", "Labelled share by day of prediction", (16, 0, 8, 9)),
                "How much of each day the accuracy beside it rests on.",
                type="timeseries",
                fieldConfig=lines("percentunit", drawStyle="bars", fillOpacity=40),
            ),
            panel(
                *("predictions", "Predictions by day", (0, 9, 8, 8)),
                "Made on each day, labelled or not.",
                type="timeseries",
                fieldConfig=lines("short", drawStyle="bars", fillOpacity=40),
            ),
            panel(
                *("labels", "Predicted and actual labels", (8, 9, 8, 8)),
                "Counts; without an actual label the outcome is not known yet.",
                type="table",
            ),
            panel(
                *("segments", "Accuracy by $segment", (16, 9, 8, 8)),
                "Least accurate first. Of few labels any share is chance: look at their count.",
                type="table",
            ),
            panel(*("alerts", "Alerts", (0, 17, 24, 8)), "Newest first, with who took them on.", type="table"),
        ],
    }


def _source(family: str) -> dict[str, str]:
    return {"type": _PLUGINS[family], "uid": UID}


def _target(family: str, query: str, *, table: bool) -> dict[str, Any]:
    said = " ".join(query.split())
    if family == "sqlite":
        of = {"queryType": "table" if table else "time series", "timeColumns": ["time", "at"]}
        return {"refId": "A", "datasource": _source(family), "queryText": said, "rawQueryText": said, **of}
    of_server: dict[str, Any] = {"format": "table" if table else "time_series", "rawQuery": True, "editorMode": "code"}
    return {"refId": "A", "datasource": _source(family), "rawSql": said, **of_server}


def _models(family: str, query: str) -> dict[str, Any]:
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _source(family),
        "query": {"queryText": query, "rawQueryText": query} if family == "sqlite" else query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _segment() -> dict[str, Any]:
    return {
        "name": "segment",
        "label": "Segment",
        "type": "textbox",
        "query": "country",
        "current": {"value": "country"},
    }


def _annotation(family: str, query: str) -> dict[str, Any]:
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": _source(family),
        "target": {**_target(family, query, table=True), "refId": "Alerts"},
    }


def written(directory: Path, content: Mapping[str, Any], dump: Callable[[Any], str]) -> list[Path]:
    """Write files below a directory, and say where they are."""
    paths: list[Path] = []
    for name, value in content.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump(value) + "\n", encoding="utf-8")
        paths.append(path)
    return paths
