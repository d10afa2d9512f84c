"""Cards by their names and spellings."""

import pytest

from bench.cards import card, cards

CARDS = {"h100-80": ("h100-80g", "H100 80GB", "h100", "NVIDIA H100-80GiB"), "t4-16": ("Tesla T4",),
         "rtx4090-24": ("4090", "RTX 4090", "rtx4090-24gb"), "a100-40": ("A100-40GB",)}  # fmt: skip


def test_cards():
    for name, spellings in CARDS.items():
        assert card(name) == cards()[name]
        for spelling in spellings:
            assert card(spelling).name == name
    for one in cards().values():
        nominal = int(one.name.partition("-")[2])
        assert 0.92 * nominal * 10**9 < one.bytes <= nominal * 2**30 and type(one.bytes) is int
        assert 5e13 < one.peak < 3e15 and 2e11 < one.bandwidth < 1e13 and one.source and one.memory


@pytest.mark.parametrize(("name", "line"), [
    ("a100", "card: expected a name such as a100-40, a100-80, received 'a100'"),
    ("h100-96g", "card: expected a name such as h100-80, v100-32, a100-80, received 'h100-96g'"),
    ("", f"card: expected a name such as {', '.join(cards())}, received ''"),
])  # fmt: skip
def test_unknown_cards(name, line):
    with pytest.raises(ValueError) as error:
        card(name)
    assert str(error.value) == line
