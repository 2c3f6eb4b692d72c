"""Who is let in, and what a browser may do with the answer."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from f1mon_core.errors import ConfigurationError
from f1mon_core.web import create_app
from f1mon_core.web.serving import check_host

from .conftest import HOSTILE, PLAIN, asynchronous

ACTIONS = ("acknowledge", "silence", "lift", "retry", "discard", "resolve")
PROXIED = {"user_header": "X-User", "trust_proxy": ["10.0.0.0/8"]}


def token_of(answer):
    return answer.text.partition('name="token" value="')[2].partition('"')[0]


def open_alert(monitor):
    return monitor.alerts(acknowledged=False, limit=1)[0].alert_id


def ready(client, monitor):
    """The fields of an acknowledgement that would be carried out."""
    alert_id = open_alert(monitor)
    return {"alert_id": alert_id, "token": token_of(client.get("/incident", id=alert_id))}


def untouched(monitor, fields):
    return not monitor.acknowledgements([fields["alert_id"]])


@pytest.mark.parametrize("path", ["/", "/static/f1mon.css", "/nothing", "/model", "/health"])
def test_every_answer_says_what_a_browser_may_do(client, hostile, path):
    headers = client(hostile).get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    expected = {"x-content-type-options": "nosniff", "referrer-policy": "same-origin", "cache-control": "no-store"}
    assert expected.items() <= headers.items()


def test_the_policy_holds_for_refusals_too(client, hostile):
    answer = client(hostile).get("/", headers={"host": "evil.example"})
    assert answer.status == 421
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("127.0.0.1", "localhost:8321", "[::1]:8321", "LOCALHOST", "monitor.example:443")),
        *((name, 421) for name in ("evil.example", "127.0.0.1.evil.example", "", "a@127.0.0.1:x", "[::1", "0.0.0.0")),
    ],
)
def test_it_answers_to_the_names_it_knows(client, hostile, host, status):
    hosts = ["127.0.0.1", "localhost", "::1", "monitor.example"]
    assert client(hostile, allow_hosts=hosts).get("/deliveries", headers={"host": host}).status == status


def test_a_form_of_its_own_page_is_carried_out(client, writable):
    asked = client(writable)
    fields = ready(asked, writable)
    answer = asked.post("/acknowledge", {**fields, "by": "me", "note": "looking"})
    assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/incident")
    assert writable.acknowledgements([fields["alert_id"]])[fields["alert_id"]].by == "me"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://evil.example", "sec-fetch-site": None},
        {"origin": "http://evil.example"},
        {"origin": "null", "sec-fetch-site": None},
        {"origin": "http://127.0.0.1:9999", "sec-fetch-site": None},
        {"origin": None, "sec-fetch-site": None},
    ],
)
def test_a_form_of_another_site_is_refused(client, writable, headers):
    asked = client(writable)
    fields = ready(asked, writable)
    assert asked.post("/acknowledge", fields, headers).status == 403
    assert untouched(writable, fields)


def test_a_form_without_its_token_or_with_anothers_is_refused(client, writable):
    asked, other = client(writable, secret=b"one"), client(writable, secret=b"one")
    fields = ready(asked, writable)
    for token in ("", "0" * 64, token_of(other.get("/incident", id=fields["alert_id"]))):
        assert asked.post("/acknowledge", {**fields, "token": token}).status == 403
    asked.cookie = None
    assert asked.post("/acknowledge", fields).status == 403
    asked.cookie = "f1mon_visit=" + "x" * 31 + "\u00e9"
    assert asked.post("/acknowledge", fields).status == 403
    assert untouched(writable, fields)


def test_the_cookie_is_kept_from_other_sites_and_from_scripts(client, hostile):
    cookie = client(hostile, root="/f1mon").get("/").headers["set-cookie"]
    assert "; Path=/f1mon; HttpOnly; SameSite=Strict" in cookie


@pytest.mark.parametrize("action", ACTIONS)
def test_read_only_has_no_route_that_changes_anything(client, writable, action):
    usual = client(writable)
    fields = ready(usual, writable)
    read_only = client(writable, read_only=True)
    page = read_only.get("/incident", id=fields["alert_id"]).text
    assert 'method="post"' not in page
    assert "read only" in page
    read_only.cookie = usual.cookie
    assert read_only.post(f"/{action}", fields).status == 405
    assert f'action="/{action}"' not in read_only.get("/deliveries").text + read_only.get("/silences", new="1").text
    assert untouched(writable, fields)


def test_read_only_leaves_the_routes_out_also_behind_the_guard(hostile):
    app = create_app(asynchronous(hostile), read_only=True)
    paths = {(route.path, method) for route in app.app.app.routes for method in route.methods}
    assert not {path for path, method in paths if method not in {"GET", "HEAD"}}
    assert not {f"/{name}" for name in ACTIONS} & {path for path, _ in paths}


def test_a_proxy_says_who_it_is_and_a_form_does_not(client, writable):
    asked = client(writable, peer="10.1.2.3", **PROXIED)
    alert_id = open_alert(writable)
    page = asked.get("/incident", {"x-user": "J\u00f6rg".encode().decode("latin-1")}, id=alert_id)
    assert page.status == 200
    assert 'name="by"' not in page.text
    fields = {"alert_id": alert_id, "token": token_of(page), "by": "the boss"}
    assert asked.post("/acknowledge", fields, {"x-user": "J\u00f6rg".encode().decode("latin-1")}).status == 303
    assert writable.acknowledgements([alert_id])[alert_id].by == "J\u00f6rg"


@pytest.mark.parametrize(
    ("peer", "headers"),
    [("10.1.2.3", {}), ("10.1.2.3", {"x-user": ""}), ("10.1.2.3", {"x-user": " "}), ("10.1.2.3", {"x-user": "a" * 256}),
     ("192.168.0.1", {"x-user": "me"}), ("127.0.0.1", {"x-user": "me"}), ("", {"x-user": "me"}),
     ("127.0.0.1", {"x-user": "me", "x-forwarded-for": "10.1.2.3"})],
)  # fmt: skip
def test_who_is_not_named_by_a_trusted_proxy_is_refused(client, hostile, peer, headers):
    asked = client(hostile, peer=peer, **PROXIED)
    assert asked.get("/", headers).status == 403
    assert asked.get("/health", headers).status == 200


def test_a_name_that_is_given_twice_is_no_name(client, hostile, runner):
    asked = client(hostile, peer="10.1.2.3", **PROXIED)
    once = asked.get("/deliveries", {"x-user": "me"})
    assert once.status == 200
    assert asked.get("/deliveries", {"x-user": "me", "X-User": "boss"}).status == 403


def test_a_token_is_of_the_one_it_was_made_for(client, writable):
    asked = client(writable, peer="10.1.2.3", **PROXIED)
    alert_id = open_alert(writable)
    fields = {"alert_id": alert_id, "token": token_of(asked.get("/incident", {"x-user": "me"}, id=alert_id))}
    assert asked.post("/acknowledge", fields, {"x-user": "somebody else"}).status == 403
    assert untouched(writable, fields)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"a=" + b"x" * 20_000, {}, 413),
        (b"&".join(b"a%d=1" % number for number in range(100)), {}, 400),
        (b"a=%ff", {}, 400),
        ("a=\u00e9".encode(), {}, 400),
        (b'{"a": 1}', {"content-type": "application/json"}, 415),
        (b"", {"content-type": None}, 415),
    ],
)
def test_what_is_no_small_form_is_refused(client, hostile, body, headers, status):
    assert client(hostile).post("/acknowledge", {}, headers, body=body).status == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"])
def test_other_methods_are_refused(client, hostile, method):
    assert client(hostile).ask(method, "/", {"host": "localhost"}).status == 405


def test_an_action_is_no_page(client, writable):
    fields = ready(client(writable), writable)
    answer = client(writable).get("/acknowledge", **fields)
    assert answer.status == 405
    assert untouched(writable, fields)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ({"window": "9y"}, 400), ({"since": "yesterday"}, 400), ({"basis": "<b>"}, 400), ({"where": "["}, 400),
        ({"where": "[" * 5_000}, 400), ({"where": "[1]"}, 400), ({"metric": HOSTILE}, 400),
        ({"basis": "matured", "horizon": "nan"}, 400), ({"basis": "matured", "horizon": "1e999"}, 400),
        ({"since": "2026-05-04", "until": "2026-05-01"}, 400), ({"name": "nobody"}, 200),
        ({"since": "0001-01-01"}, 400), ({"positive": "1.5"}, 200),
        ({"since": "1970-01-01", "until": "9999-12-31"}, 200), ({"horizon": "-1", "basis": "matured"}, 400),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_asked_is_refused_in_words(client, hostile, words, status):
    answer = client(hostile).get("/model", **{"name": PLAIN, **words})
    assert answer.status == status, answer.text
    assert "Traceback" not in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize("page", ["/incident", "/alerts"])
@pytest.mark.parametrize("given", ["nobody", HOSTILE, "x" * 3_000])
def test_an_id_that_there_is_not_is_not_found(client, hostile, page, given):
    answer = client(hostile).get(page, id=given, open_after=given)
    assert answer.status in {400, 404}
    assert "<script" not in answer.text


def test_what_goes_wrong_is_logged_and_not_shown(client, hostile, caplog, monkeypatch):
    asked = client(hostile)

    async def fails(_monitor, _query, _link):
        message = "postgresql://me:hunter2@db/x fell over"
        raise RuntimeError(message)

    from f1mon_core.web import screens  # noqa: PLC0415 - planted

    broken = screens.Screen("deliveries", "deliveries", "deliveries.html", fails)
    monkeypatch.setattr("f1mon_core.web.app.SCREENS", (broken,))
    asked = client(hostile)
    answer = asked.get("/deliveries")
    assert answer.status == 500
    assert not [word for word in ("hunter2", "Traceback", "RuntimeError", "deliveries.html") if word in answer.text]
    reference = answer.text.partition("under ")[2].partition(".")[0]
    assert reference
    assert reference in caplog.text


def test_metrics_are_read_by_prometheus_own_parser_and_only_without_a_user_to_ask_for(client, hostile):
    found = client(hostile).get("/metrics")
    assert found.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {family.name for family in text_string_to_metric_families(found.text)}
    assert {"f1mon_accuracy_ratio", "f1mon_open_incidents"} <= names
    proxied = client(hostile, user_header="X-User", trust_proxy=["127.0.0.1"])
    assert proxied.get("/metrics", headers={"X-User": "ann"}).status in {403, 404}


def test_health_says_whether_the_store_answers_and_nothing_else(client, hostile, monkeypatch):
    asked = client(hostile)
    healthy = asked.get("/health")
    assert (healthy.status, json.loads(healthy.text)["status"]) == (200, "ok")
    monkeypatch.setattr(hostile.storage, "find", lambda *_given, **_named: 1 / 0)
    sick = asked.get("/health")
    assert (sick.status, json.loads(sick.text)) == (503, {"status": "failed", "store": "does not answer"})


@pytest.mark.parametrize(
    "options",
    [{"user_header": "X-User"}, {"trust_proxy": ["10.0.0.1"]}, {"user_header": "X User", "trust_proxy": ["10.0.0.1"]},
     {"user_header": "X-User", "trust_proxy": ["proxy.example"]}],
)  # fmt: skip
def test_half_a_proxy_is_refused(hostile, options):
    with pytest.raises(ConfigurationError):
        create_app(asynchronous(hostile), **options)


def test_a_monitor_of_the_wrong_colour_is_refused(hostile):
    with pytest.raises(ConfigurationError, match="AsyncMonitor"):
        create_app(hostile)


@pytest.mark.parametrize(
    ("host", "options", "fine"),
    [
        ("127.0.0.1", {}, True), ("::1", {}, True), ("localhost", {}, True), ("127.8.8.8", {}, True),
        ("0.0.0.0", {}, False), ("::", {}, False), ("10.0.0.1", {}, False), ("monitor.example", {}, False),
        ("0.0.0.0", {"read_only": True}, True), ("0.0.0.0", {"user_header": "X-User"}, True),
    ],
)  # fmt: skip
def test_another_host_needs_a_name_of_the_user_or_only_reads(host, options, fine):
    given = {"read_only": False, "user_header": None, **options}
    if fine:
        check_host(host, **given)
    else:
        with pytest.raises(ConfigurationError, match="--read-only"):
            check_host(host, **given)
