"""Keys as bytes order like their parts, however short they must be; staged changes read as if they were stored."""

from hypothesis import given
from hypothesis import strategies as st
from keyvalue_stores import Pairs

from f1mon_core.storage.keyvalue import Staged
from f1mon_core.storage.keyvalue.keys import SHORTEST, KeySpace, above, prefix_bytes

# Long ones that differ late, and letters of one to four bytes: a cut may fall into one.
TEXT = st.text("a\x01é\U0001f600", max_size=4) | st.builds(
    lambda n, end: "x\U0001f600é" * n + end, st.integers(5, 9), st.text("ab", max_size=2)
)
PARTS = st.tuples(TEXT, TEXT) | st.tuples(TEXT)
LONGEST = st.sampled_from([None, SHORTEST, 100])


@given(st.sets(PARTS, max_size=12), LONGEST, st.booleans())
def test_what_is_listed_in_the_order_of_bytes_comes_in_the_order_of_parts(keys, longest, reverse):
    space = KeySpace(longest)
    stored = sorted((space.key(key), space.value(key, list(key))) for key in keys)
    assert longest is None or all(len(key) <= longest for key, _ in stored)
    assert len({key for key, _ in stored}) == len(keys)
    pairs = reversed(stored) if reverse else stored
    assert list(space.ordered(pairs, reverse=reverse)) == [(key, list(key)) for key in sorted(keys, reverse=reverse)]


@given(st.sets(PARTS, max_size=12), TEXT, LONGEST)
def test_a_range_holds_all_that_begins_with_its_prefix(keys, prefix, longest):
    space = KeySpace(longest)
    start = space.cut(prefix_bytes(("t",), prefix))
    for first, *others in keys:
        key = space.key(("t", first, *others))
        if first.startswith(prefix):
            assert start <= key < above(start)


BYTES = st.binary(min_size=1, max_size=2)
CHANGES = st.lists(st.tuples(BYTES, st.none() | BYTES), max_size=12)


@given(CHANGES, CHANGES, BYTES, BYTES, st.booleans())
def test_staged_changes_read_as_if_they_were_stored(before, after, start, stop, reverse):
    stored, both = Pairs(), Pairs()
    staged = Staged(stored)
    for places, changes in (((stored, both), before), ((staged, both), after)):
        for key, value in changes:
            for place in places:
                if value is None:
                    place.delete(key)
                else:
                    place.put(key, value)
    assert list(staged.items(start, stop, reverse=reverse)) == list(both.items(start, stop, reverse=reverse))
    asked = [key for key, _ in (*before, *after)]
    assert list(staged.get(asked)) == both.get(asked)
