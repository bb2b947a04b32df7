"""The learning rate rises linearly and falls along a cosine; or it falls in cycles whose last weights are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.errors import BadInput
from medclipsam.training.schedule import Cycles, EpochRate, WarmupCosine


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


def test_the_published_plan_keeps_thirty_weights():
    kept = Cycles(epochs=600, count=3, keep=10).kept
    assert kept == (*range(189, 199), *range(389, 399), *range(589, 599))


def test_a_small_plan_keeps_the_epochs_before_the_last_of_each_cycle():
    assert Cycles(epochs=8, count=2, keep=2).kept == (1, 2, 5, 6)
    assert Cycles(epochs=3, count=3, keep=1).kept == (0, 1, 2)


def test_each_cycle_restarts_at_the_peak_and_falls_to_its_plateau():
    cycles = Cycles(epochs=10, count=2, keep=1, plateau=0.6)
    fall = [1, 0.8**0.9, 0.6**0.9, 0.4**0.9, 0.4**0.9]
    assert [cycles.factor(epoch) for epoch in range(10)] == pytest.approx([*fall, *fall])


@pytest.mark.parametrize(("plateau", "lowest"), [(0.5, 0.0085), (0.8, 0.0076)])
def test_the_released_rate_is_almost_constant(plateau, lowest):
    cycles = Cycles(epochs=600, rate="released", plateau=plateau)
    rates = [0.01 * cycles.factor(epoch) for epoch in range(600)]
    assert min(rates) == pytest.approx(lowest, abs=5e-5)
    assert [epoch for epoch, rate in enumerate(rates) if rate == 0.01] == [0, 200, 400]


@given(st.integers(1, 60), st.integers(1, 5), st.floats(0.01, 1), st.sampled_from(["restarts", "released"]))
def test_no_epoch_of_a_cycle_has_a_rate_of_zero_or_above_the_peak(length, count, plateau, rate):
    cycles = Cycles(epochs=length * count, count=count, keep=1, plateau=plateau, rate=rate)
    assert all(0 < cycles.factor(epoch) <= 1 for epoch in range(cycles.epochs))


@given(st.integers(2, 60), st.integers(1, 5), st.data())
def test_every_cycle_keeps_as_many_weights_as_asked(length, count, data):
    keep = data.draw(st.integers(1, length - 1))
    kept = Cycles(epochs=length * count, count=count, keep=keep).kept
    assert len(set(kept)) == keep * count
    assert {epoch // length for epoch in kept} == set(range(count))


def test_all_steps_of_an_epoch_have_its_rate():
    cycles = Cycles(epochs=4, count=2, keep=1)
    factors = [EpochRate(cycles=cycles, steps_per_epoch=3).factor(step) for step in range(12)]
    assert factors == [cycles.factor(epoch) for epoch in range(4) for _ in range(3)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 10, "count": 3}, "10 epochs are not 3 equal cycles"),
        ({"epochs": 9, "count": 3, "keep": 3}, "a cycle of 3 epochs has no 3 weights"),
        ({"epochs": 30, "plateau": 0.0, "keep": 1}, "plateau 0.0"),
        ({"epochs": 30, "rate": "cosine", "keep": 1}, "unknown rate 'cosine'"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(settings, said):
    with pytest.raises(BadInput, match=said):
        Cycles(**settings)
