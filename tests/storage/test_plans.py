"""A plan drives either colour, and hears of failures where it asked."""

import ast
import asyncio
import importlib.util
import inspect
from pathlib import Path

import pytest

from f1mon_core.errors import ConflictError, InvalidQueryError
from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.storage import plans
from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.offload import OffloadedStorage

from ..factories import prediction


def first_or_second():
    yield from plans.append([prediction()])
    try:
        yield from plans.append([prediction(confidence=0.6)])
    except ConflictError:
        return (yield from plans.append([prediction(prediction_id="b")])).new


def test_a_plan_can_answer_a_failure():
    assert plans.run(first_or_second(), MemoryStorage()) == 1
    assert asyncio.run(plans.run_async(first_or_second(), OffloadedStorage(MemoryStorage()))) == 1


def test_what_a_plan_does_not_answer_reaches_the_caller():
    def asks_wrongly():
        return (yield from plans.count(None))

    with pytest.raises(AttributeError):
        plans.run(asks_wrongly(), MemoryStorage())


def test_an_error_names_the_first_batch_not_written():
    with Monitor.open("memory") as monitor:
        rows = [prediction(prediction_id=str(number % 5), confidence=0.1 * number) for number in range(6)]
        with pytest.raises(ConflictError) as refused:
            monitor.record_predictions(rows, batch_size=2)
        assert "batch 2 (records 4 to 5)" in refused.value.__notes__[0]
        assert len(monitor.predictions()) == 4
        with pytest.raises(InvalidQueryError, match="batch_size"):
            monitor.record_predictions(rows, batch_size=0)


def generator():
    path = Path(__file__).parents[2] / "tools" / "generate_async.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def meaning(text):
    """The syntax tree, docstrings in it, without the imports, which formatting sorts and thins."""
    return [ast.dump(node) for node in ast.parse(text).body if not isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize(("target", "source"), generator().SOURCES.items(), ids=lambda path: path.stem)
def test_the_async_side_is_what_the_sync_side_makes(target, source):
    # To the letter it is compared by `nox -s lint`, which has the formatter.
    assert meaning(generator().generated(source)) == meaning(target.read_text())


@pytest.mark.parametrize("owner", [AsyncMonitor, AsyncStorage])
def test_docstrings_are_whole_on_the_async_side(owner):
    for name in public(owner):
        assert not inspect.getdoc(getattr(owner, name)).startswith("See "), name


def public(owner):
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("one", "other"), [(Monitor, AsyncMonitor), (Storage, AsyncStorage)])
def test_both_colours_have_the_same_surface(one, other):
    sync, awaited = public(one), public(other)
    assert sync.keys() == awaited.keys()
    for name, signature in sync.items():
        assert signature.parameters == awaited[name].parameters, name
        assert inspect.iscoroutinefunction(getattr(other, name)), name
