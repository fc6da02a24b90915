"""A stage's time is its own: counted once, whoever computed it, without what it asked for or what happened apart."""

import time

import numpy as np
import pytest

from galc.study.stage_cache import Costs, by_stage

TICK = 0.05  # seconds


def lasting(ticks: float, *before) -> callable:
    """A computation that asks for others and then takes so many ticks."""

    def compute():
        for ask in before:
            ask()
        time.sleep(ticks * TICK)
        return {"x": np.zeros(1)}, {}

    return compute


def chain(costs: Costs):
    """c needs b twice, and b needs a."""
    a = lambda: costs.cached("a", {}, lasting(4))  # noqa: E731
    b = lambda: costs.cached("b", {}, lasting(2, a))  # noqa: E731
    return costs.cached("c", {}, lasting(1, b, b))


def near(ticks: float):
    return pytest.approx(ticks * TICK, abs=0.9 * TICK)


def test_nested_stages_are_told_apart_and_counted_once():
    assert by_stage(chain(Costs())) == {"a": near(4), "b": near(2), "c": near(1)}


def test_who_computed_a_stage_and_when_makes_no_difference():
    Costs().cached("a", {}, lasting(4))
    costs = Costs()
    costs.cached("b", {}, lasting(2, lambda: costs.cached("a", {}, None)))
    first = by_stage(chain(Costs()))
    assert first == {"a": near(4), "b": near(2), "c": near(1)}
    assert by_stage(chain(Costs())) == first  # read from the cache, all of it


def test_a_stage_that_was_asked_for_earlier_is_still_part_of_the_cost():
    costs = Costs()
    a = lambda: costs.cached("a", {}, lasting(1))  # noqa: E731
    a()
    assert set(by_stage(costs.cached("b", {}, lasting(0, a)))) == {"a", "b"}
    assert set(by_stage(costs.cached("d", {}, lasting(0)))) == {"d"}  # it did not ask


def test_two_entries_of_one_stage_add_up():
    costs = Costs()
    rounds = [lambda n=n: costs.cached("round", {"n": n}, lasting(n)) for n in (1, 2)]
    assert by_stage(costs.cached("b", {}, lasting(0, *rounds)))["round"] == near(3)


def test_what_happens_apart_takes_no_time():
    costs = Costs()

    def look():
        with costs.apart():
            time.sleep(4 * TICK)

    assert by_stage(costs.cached("a", {}, lasting(1, look))) == {"a": near(1)}


def test_after_a_stage_that_failed_the_next_one_pays_for_itself_alone():
    costs = Costs()

    def fails():
        costs.cached("a", {}, lasting(1))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        costs.cached("b", {}, fails)
    assert by_stage(costs.cached("c", {}, lasting(1))) == {"c": near(1)}
