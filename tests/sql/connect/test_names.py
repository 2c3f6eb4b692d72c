"""One SQLite file under several names: its queue is one, or it is refused."""

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from f1mon_core.errors import AccessDeniedError, ConfigurationError, LockTimeoutError
from f1mon_core.records.kinds import Prediction
from f1mon_sql import SQLStorage
from f1mon_sql.connect.target import target_of

MADE = Prediction(
    prediction_id="a",
    model_version="m",
    predicted_outcome=1,
    confidence=0.5,
    at=datetime(2026, 5, 1, tzinfo=UTC),
)


@pytest.mark.parametrize("linked", ["file", "directory"])
def test_a_symbolic_link_leads_to_the_queue_of_the_file_itself(sqlite_url, tmp_path, linked):
    file = Path(target_of(sqlite_url).database_file)
    link = tmp_path / "linked"
    link.symlink_to(file if linked == "file" else file.parent)
    other_url = f"sqlite:///{link if linked == 'file' else link / file.name}"

    def clock():  # asked while a turn is held
        if armed:
            with pytest.raises(LockTimeoutError, match=f"{file.name}-f1mon-turn"):
                other.append([MADE])
            tried.append(True)
        return datetime(2026, 5, 2, tzinfo=UTC)

    armed, tried = [], []
    with (
        closing(SQLStorage(sqlite_url, clock=clock)) as store,
        closing(SQLStorage(other_url, lock_timeout=0.1)) as other,
    ):
        armed.append(True)
        store.append([MADE])
    assert tried
    assert {one.name for one in tmp_path.iterdir()} == {"linked"}


@pytest.mark.parametrize("whose", ["f1mon's", "an application's"])
def test_a_file_with_two_hard_names_is_refused(sqlite_url, tmp_path, whose):
    SQLStorage(sqlite_url).close()
    file = Path(target_of(sqlite_url).database_file)
    other = file.with_name("other.db")
    os.link(file, other)
    engine = sa.create_engine(f"sqlite:///{other}")
    with pytest.raises(ConfigurationError, match="hard links"):
        SQLStorage(f"sqlite:///{other}" if whose == "f1mon's" else engine)
    engine.dispose()
    other.unlink()
    SQLStorage(sqlite_url).close()


@pytest.mark.parametrize("end", ["next", "turn"])
def test_no_queue_is_made_through_a_planted_link(sqlite_url, tmp_path, end):
    file = Path(target_of(sqlite_url).database_file)
    planted = tmp_path / "victim"
    file.with_name(f"{file.name}-f1mon-{end}").symlink_to(planted)
    with pytest.raises(AccessDeniedError, match="symbolic link"):
        SQLStorage(sqlite_url)
    assert not planted.exists()
