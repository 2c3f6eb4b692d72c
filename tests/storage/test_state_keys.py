"""Keys of state: what they are made of is found again, as far as it stands in them."""

from hypothesis import example, given
from hypothesis import strategies as st

from f1mon_core.storage.change import MAX_STATE_KEY_CHARACTERS, check_state_key, key_parts, state_key, state_prefix

part = st.one_of(
    st.text("/%~a2F5\U0001f3ce", min_size=1, max_size=12),
    st.builds(str.__mul__, st.sampled_from(["/", "%", "~", "a", "\U0001f3ce"]), st.integers(1, 300)),
    st.sampled_from(["instance", "rule", "{}", "%2F", "%252F"]),
)
parts = st.lists(part, min_size=1, max_size=5)


def test_keys_stay_as_they_are():
    assert state_key("instance", "a/b", "50%", "{}") == "instance/a%2Fb/50%25/{}"
    assert state_key("rule", "x" * 695) == "rule/" + "x" * 695
    assert state_key("rule", "/" * 255) == (
        "rule/" + "%2F" * 210 + "~" + "17156f4e0fa11a38a794071c55cb766909ec6997851d2b62a0453eed8ca49502"
    )


@given(parts, parts)
@example(["instance", "/" * 209], ["x"])  # its prefix ends one character before the cut
@example(["instance", "%" * 240], ["m", "{}"])
def test_every_key_begins_with_the_prefix_of_its_first_parts(first, more):
    key = state_key(*first, *more)
    assert key.startswith(check_state_key(state_prefix(*first), prefix=True))
    assert check_state_key(key) == key


@given(parts)
def test_the_parts_of_a_key_are_found_again_unless_it_was_cut(given):
    found = key_parts(state_key(*given))
    if len(state_key(*given)) < MAX_STATE_KEY_CHARACTERS:
        assert found == tuple(given)
    else:
        assert found == tuple(given)[: len(found)]


@given(parts, parts)
def test_different_parts_have_different_keys(one, other):
    assert (state_key(*one) == state_key(*other)) == (one == other)


def test_what_looks_like_a_key_that_was_cut_is_none():
    cut = state_key("x" * 800)
    assert len(cut) == MAX_STATE_KEY_CHARACTERS
    assert state_key(cut) != cut
    assert key_parts(cut) == ()
