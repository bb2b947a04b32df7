"""Does every file belong to exactly one shard, whatever the others are?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.errors import BadInput
from medclipsam.runs import Shard


@given(st.text(), st.integers(1, 50))
def test_each_name_is_in_exactly_one_shard(name: str, count: int) -> None:
    name = name.encode("utf-8", "replace").decode()
    assert sum(Shard(index, count).holds(name) for index in range(1, count + 1)) == 1


def test_shards_are_about_equal() -> None:
    sizes = [sum(Shard(index, 3).holds(f"scan{k}") for k in range(3000)) for index in (1, 2, 3)]
    assert all(900 < size < 1100 for size in sizes)


def test_the_assignment_is_the_same_in_every_version() -> None:
    """Another would do cases twice that jobs of two versions share."""
    assert [next(i for i in (1, 2, 3) if Shard(i, 3).holds(name)) for name in ("a-1c9d6c7b", "b", "c")] == [1, 2, 3]


def test_a_shard_is_written_as_part_of_all() -> None:
    assert Shard.parse("2/3") == Shard(2, 3)
    assert Shard.parse("1/1").is_whole


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "-1/3", "1/0", "a/b", "1/3/5", "1.5/3", "²/3", "1/99999999"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="shard"):
        Shard.parse(text)
