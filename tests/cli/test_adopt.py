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
    account = json.loads(run("--path", "store", "adopt", "old", "--json").stdout)
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
    assert line.startswith("Error: 1 line could not be set aside in old/f1mon-set-aside-")
