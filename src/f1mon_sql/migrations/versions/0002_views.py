"""Views with readable timestamps, for dashboards and people."""

from f1mon_sql.migrations.expressions import DAY, FIELD, TEXT, TIME
from f1mon_sql.migrations.making import create_view, dialect_name, drop_view

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def queries(name: str) -> dict[str, str]:
    """What each view selects on a family of databases."""
    time, text, field = TIME[name], TEXT[name], FIELD[name]
    return {
        "f1mon_predictions_v": f"""SELECT {text("prediction_id")} AS prediction_id,
        {time("predicted_at")} AS predicted_at,
        {text("model_version")} AS model_version, predicted_outcome, confidence, actual_outcome,
        CASE WHEN actual_outcome IS NULL THEN NULL WHEN actual_outcome = predicted_outcome THEN 1 ELSE 0 END AS correct,
        {time("first_known_at")} AS first_known_at, {time("known_at")} AS known_at, {time("recorded_at")} AS recorded_at
        FROM f1mon_predictions WHERE predicted_at IS NOT NULL""",
        "f1mon_alerts_v": f"""SELECT {text("a.alert_id")} AS alert_id,
        {time("a.at")} AS at, {text("a.severity")} AS severity,
        {text("a.component")} AS component, {text("a.model_version")} AS model_version,
        {text("a.metric_name")} AS metric_name, {text("a.rule_id")} AS rule_id,
        {field("a.content", "title")} AS title, {field("a.content", "message")} AS message,
        {time("k.at")} AS acknowledged_at, {field("k.content", "by")} AS acknowledged_by
        FROM f1mon_alerts a LEFT JOIN f1mon_facts k
        ON k.kind = 'acknowledgement' AND k.key_1 = a.alert_id AND k.key_2 = ''""",
        "f1mon_daily_accuracy_v": f"""SELECT {DAY[name]("predicted_at")} AS day,
        {text("model_version")} AS model_version,
        COUNT(*) AS predictions, COUNT(actual_outcome) AS labelled,
        SUM(CASE WHEN actual_outcome = predicted_outcome THEN 1 ELSE 0 END) AS correct,
        SUM(CASE WHEN actual_outcome = predicted_outcome THEN 1e0 ELSE 0e0 END) / NULLIF(COUNT(actual_outcome), 0)
        AS accuracy
        FROM f1mon_predictions WHERE predicted_at IS NOT NULL
        GROUP BY {DAY[name]("predicted_at")}, model_version""",
    }


def upgrade() -> None:
    """Create the views."""
    for view, query in queries(dialect_name()).items():
        create_view(view, query)


def downgrade() -> None:
    """Drop the views."""
    for name in ("daily_accuracy", "alerts", "predictions"):
        drop_view(f"f1mon_{name}_v")
