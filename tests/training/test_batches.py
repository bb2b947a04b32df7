"""Every pass sees every example once, in an order of its own, whatever came before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.errors import BadInput
from medclipsam.training.data.sampling import BatchPlan, batches


@given(st.integers(2, 200), st.integers(2, 64), st.integers(0, 9))
def test_a_pass_holds_no_example_twice_and_loses_less_than_a_batch(examples, batch_size, seed):
    plan = BatchPlan(examples=examples, batch_size=batch_size, seed=seed)
    keys = [plan.keys(step) for step in range(plan.steps_per_epoch)]
    seen = [example for batch in keys for _, example in batch]
    assert len(seen) == len(set(seen)) > examples - plan.rows
    assert {len(batch) for batch in keys} == {min(batch_size, examples)}
    assert set(seen) <= set(range(examples))


def test_each_pass_and_each_seed_has_its_own_order():
    plan = BatchPlan(examples=50, batch_size=50, seed=0)
    orders = [[example for _, example in plan.keys(step)] for step in range(2)]
    other = [example for _, example in BatchPlan(examples=50, batch_size=50, seed=1).keys(0)]
    assert orders[0] != orders[1]
    assert orders[0] != other
    assert [epoch for epoch, _ in plan.keys(1)] == [1] * 50


def test_a_step_draws_the_same_whether_steps_came_before_or_not():
    plan = BatchPlan(examples=10, batch_size=3, seed=4)
    data = {(epoch, example): (epoch, example) for epoch in range(3) for example in range(10)}
    everything = list(batches(data, plan, range(9), list))
    assert list(batches(data, plan, range(5, 9), list)) == everything[5:]
    assert everything == [plan.keys(step) for step in range(9)]


def test_too_few_examples_are_refused():
    with pytest.raises(BadInput, match="1 examples"):
        BatchPlan(examples=1, batch_size=4, seed=0)
