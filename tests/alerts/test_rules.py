"""A rule refuses what cannot be meant, and judges a reading by its truth table."""

import math
from decimal import Decimal

import numpy as np
import pytest

from f1mon_core import ConfigurationError, InvalidRecordError, NotANumberError
from f1mon_core.alerts.rule_files import difference, from_document, from_toml, to_document
from f1mon_core.alerts.verdict import Reading, judged

from ..factories import rule


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("rule_id", {"rule_id": ""}),
        ("metric_name", {"metric_name": 3}),
        ("threshold", {"threshold": math.nan}),
        ("threshold", {"threshold": "0.8"}),
        ("threshold", {"threshold": True}),
        ("comparison", {"comparison": "=<"}),
        ("severity", {"severity": "fatal"}),
        ("enabled", {"enabled": 1}),
        ("cooldown_minutes", {"cooldown_minutes": -1}),
        ("cooldown_minutes", {"cooldown_minutes": math.nan}),
        ("cooldown_minutes", {"cooldown_minutes": 1e300}),
        ("channels", {"channels": "console"}),
        ("channels", {"channels": ["console", ""]}),
        ("conditions.min_value", {"conditions": {"min_value": "low"}}),
        ("conditions.min_value", {"conditions": {"min_value": 1, "max_value": 0}}),
        ("scope", {"scope": "model"}),
        ("for_minutes", {"for_minutes": -0.1}),
        ("recover_threshold", {"recover_threshold": 0.7}),
        ("recover_threshold", {"comparison": ">", "recover_threshold": 0.9}),
        ("recover_threshold", {"comparison": "==", "recover_threshold": 0.8}),
        ("escalation.info", {"escalation": {"info": 0.5}}),
        ("escalation.critical", {"escalation": {"critical": 0.9}}),
        ("escalation", {"escalation": {"fatal": 0.9}}),
        ("escalation", {"comparison": "!=", "escalation": {"critical": 0.9}}),
        ("breaches", {"breaches": 2}),
        ("breaches", {"breaches": 0}),
        ("of_evaluations", {"of_evaluations": 10_000}),
        ("min_samples", {"min_samples": -1}),
        ("min_coverage", {"min_coverage": 1.1}),
        ("gate", {"gate": "both"}),
        ("on_no_data", {"on_no_data": "resolve"}),
        ("remind_minutes", {"remind_minutes": 0}),
        ("remind_minutes", {"remind_minutes": 1e-9}),
        ("window_minutes", {"window_minutes": 0}),
        ("window_minutes", {"window_minutes": 1e-9}),
        ("basis", {"basis": "time"}),
        ("horizon_minutes", {"horizon_minutes": 60}),
        ("horizon_minutes", {"basis": "matured"}),
        ("horizon_minutes", {"basis": "matured", "horizon_minutes": 0}),
    ],
)
def test_a_bad_rule_is_refused_by_the_name_of_its_field(field, changes):
    with pytest.raises(InvalidRecordError) as refused:
        rule(**changes)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_the_comparisons(comparison, below, equal, above):
    for value, breached in ((0.7, below), (0.8, equal), (0.9, above)):
        verdict = judged(rule(comparison=comparison), Reading.of(value))
        assert (verdict.kind, verdict.severity) == (("breach", "warning") if breached else ("good", None)), value


@pytest.mark.parametrize("comparison", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize(
    "value",
    [
        None,
        math.nan,
        math.inf,
        -math.inf,
        np.float32("nan"),
        np.float64("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        10**400,
    ],
)
def test_what_is_no_data_is_never_compared(comparison, value):
    assert judged(rule(comparison=comparison), Reading.of(value)).kind == "no data"
    assert judged(rule(comparison=comparison), Reading.of(Reading(value, n=3))).kind == "no data"


@pytest.mark.parametrize("value", [True, False, "0.5", b"0.5", np.bool_(True), [0.5], 1j, object()])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(NotANumberError, match="value"):
        Reading.of(value)
    with pytest.raises(TypeError):
        Reading.of(value)


@pytest.mark.parametrize("value", [0.5, np.float64(0.5), np.float32(0.5), np.float16(0.5), Decimal("0.5")])
def test_scalars_of_other_libraries_are_converted(value):
    assert Reading.of(value) == Reading(0.5)
    assert type(Reading.of(value).value) is float
    assert Reading.of(np.int64(3)) == Reading(3.0)


@pytest.mark.parametrize(
    ("changes", "reading", "kind", "severity"),
    [
        ({"min_samples": 50}, Reading(0.1, n=49), "no data", None),
        ({"min_samples": 50}, Reading(0.1, n=50), "breach", "warning"),
        ({"min_samples": 50}, Reading(0.1), "no data", None),
        ({"min_coverage": 0.5}, Reading(0.1, coverage=0.49), "no data", None),
        ({"min_coverage": 0.5}, Reading(0.1, coverage=0.5), "breach", "warning"),
        ({"min_coverage": 0.5}, Reading(0.1), "no data", None),
        ({"gate": "interval"}, Reading(0.7, low=0.6, high=0.79), "breach", "warning"),
        ({"gate": "interval"}, Reading(0.7, low=0.6, high=0.8), "undecided", None),
        ({"gate": "interval"}, Reading(0.9, low=0.7, high=0.95), "good", None),
        ({"gate": "interval"}, Reading(0.7), "no data", None),
        ({"gate": "interval", "comparison": "!="}, Reading(0.7, low=0.6, high=0.75), "breach", "warning"),
        ({"gate": "interval", "comparison": "!="}, Reading(0.7, low=0.6, high=0.85), "undecided", None),
        ({"gate": "interval", "comparison": "=="}, Reading(0.8, low=0.7, high=0.9), "undecided", None),
        ({"recover_threshold": 0.85}, Reading(0.82), "band", None),
        ({"recover_threshold": 0.85}, Reading(0.85), "good", None),
        ({"comparison": ">", "recover_threshold": 0.7}, Reading(0.75), "band", None),
        ({"escalation": {"critical": 0.6}}, Reading(0.7), "breach", "warning"),
        ({"escalation": {"critical": 0.6}}, Reading(0.59), "breach", "critical"),
        ({"escalation": {"critical": 0.6}, "gate": "interval"}, Reading(0.5, low=0.4, high=0.7), "breach", "warning"),
        ({"severity": "info", "escalation": {"critical": 0.4, "warning": 0.6}}, Reading(0.5), "breach", "warning"),
        ({"conditions": {"min_value": 0.0}}, Reading(-1.0), "undecided", None),
        ({"conditions": {"max_value": 1.0}, "comparison": ">"}, Reading(1.1), "undecided", None),
        ({"conditions": {"min_value": 0.0, "max_value": 1.0}}, Reading(0.0), "breach", "warning"),
    ],
)
def test_what_a_reading_means(changes, reading, kind, severity):
    verdict = judged(rule(**changes), reading)
    assert (verdict.kind, verdict.severity) == (kind, severity)
    assert verdict.reason


def test_rules_come_from_toml_and_documents_as_they_went():
    (made,) = from_toml(
        """
        [[rules]]
        rule_id = "accuracy-low"
        metric_name = "accuracy"
        threshold = 0.8
        comparison = "<"
        severity = "warning"
        component = "performance"
        escalation = { critical = 0.6 }
        channels = ["console", "slack"]
        """
    )
    assert made == rule(escalation={"critical": 0.6}, channels=("console", "slack"), scope=None)
    assert from_document(to_document(made)) == made
    assert difference(made, rule(channels=["console", "slack"], scope=None)) == {"escalation": ({"critical": 0.6}, {})}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[rules]]\nrule_id = 'a'", r"metric_name is missing @ rules.toml\[0\].metric_name"),
        ("rules = 3", "array of tables"),
        ("rule = []", "unknown key 'rule'"),
        ("[[rules", "rules.toml: "),
    ],
)
def test_a_bad_file_is_told_with_its_path(text, told):
    with pytest.raises(ConfigurationError, match=told):
        from_toml(text)


def test_a_refused_value_and_a_repeated_id_are_told_with_their_path():
    good = "[[rules]]\nrule_id='a'\nmetric_name='m'\nthreshold=1\ncomparison='<'\nseverity='info'\ncomponent='c'\n"
    with pytest.raises(ConfigurationError, match=r"severity: must be one of .* @ rules.toml\[1\]"):
        from_toml(good + good.replace("'info'", "'bad'"))
    with pytest.raises(ConfigurationError, match=r"extra fields found \(treshold\) @ rules.toml\[0\]"):
        from_toml(good + "treshold = 2\n")
    with pytest.raises(ConfigurationError, match="given twice"):
        from_toml(good + good)
