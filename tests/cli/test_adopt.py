"""`f1mon adopt` says what became of every line."""

import json

import pytest


def test_the_account_of_the_real_files_is_printed(run, shared_data):
    said = run("--path", "store", "adopt", str(shared_data / "legacy")).stdout
    assert "predictions.jsonl: 10700 read, 10700 facts adopted, 0 already stored" in said
    assert "13 under a derived id, 0 set aside" in said
    again = run("--path", "store", "adopt", str(shared_data / "legacy"))
    assert again.stdout.startswith("nothing to adopt")


def test_what_is_set_aside_is_in_the_json_account(run, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "predictions.jsonl").write_bytes(b"{\n")
    account = json.loads(run("--path", "store", "adopt", "old", "--json", code=1).stdout)
    assert account["files"][0]["set_aside"][0]["line"] == 1
    assert account["set_aside_file"].startswith("old/f1mon-set-aside-")


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_what_cannot_be_set_aside_is_one_line_and_exit_code_1(run, tmp_path, monkeypatch, arguments):
    old = tmp_path / "old"
    old.mkdir()
    (old / "predictions.jsonl").write_bytes(b"{\n")
    monkeypatch.setattr("secrets.token_hex", lambda _: "no/such/directory")
    said = run("--path", "store", "adopt", "old", *arguments, code=1)
    assert "1 set aside" in said.stdout or json.loads(said.stdout)["set_aside_file"] is None
    *_, line = said.stderr.splitlines()
    assert "nothing in predictions.jsonl could be adopted" in line
    assert line.startswith("Error: 1 line could not be set aside in old/f1mon-set-aside-")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["predictions.jsonl", "alerts.jsonl", "alert_rules.json"])
def test_files_in_utf_16_are_named_as_that_each_time_until_they_are_converted(run, tmp_path, name, encoding):
    """What an editor on Windows makes of them; none of their lines can be read, which was exit code 0."""
    old = tmp_path / "old"
    old.mkdir()
    text = "[]" if name.endswith(".json") else '{"timestamp": "2026-01-01T00:00:00", "prediction_id": "a"}\n' * 3
    (old / name).write_bytes(text.encode(encoding))
    for _ in range(2):
        said = run("--path", "store", "adopt", "old", code=1)
        assert f"{name} is UTF-16" in said.stderr
        assert "iconv -f UTF-16" in said.stderr
    (old / name).unlink()
    run("--path", "store", "adopt", "old")


def test_a_file_of_which_something_is_set_aside_and_something_adopted_is_no_failure(run, tmp_path, shared_data):
    old = tmp_path / "old"
    old.mkdir()
    whole = (shared_data / "legacy" / "health_snapshots.jsonl").read_bytes().splitlines(keepends=True)[:3]
    (old / "health_snapshots.jsonl").write_bytes(b"".join(whole) + b"{\n")
    assert "1 set aside" in run("--path", "store", "adopt", "old").stdout
