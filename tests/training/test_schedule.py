"""The learning rate rises linearly and falls along a cosine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.errors import BadInput
from medclipsam.training.schedule import WarmupCosine


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    factors = [WarmupCosine(steps=8, warmup=4).factor(step) for step in range(9)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)


def test_the_cosine_ends_at_the_floor_and_stays_there():
    schedule = WarmupCosine(steps=10, floor=0.2)
    assert schedule.factor(10) == pytest.approx(0.2)
    assert schedule.factor(99) == pytest.approx(0.2)


@given(st.integers(1, 500), st.floats(0, 1), st.floats(0, 1))
def test_no_step_has_a_rate_of_zero_or_above_the_peak(steps, share, floor):
    schedule = WarmupCosine(steps=steps, warmup=int(share * steps), floor=floor)
    assert all(0 < schedule.factor(step) <= 1 for step in range(steps))


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(BadInput, match="11 steps"):
        WarmupCosine(steps=10, warmup=11)
