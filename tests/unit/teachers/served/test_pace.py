import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.teachers.served import pace as pace_module
from trainer.teachers.served.pace import Pace


class Clock:
    """A time that stands still until it is told."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pace_module.time, "monotonic", found.monotonic)
    return found


async def rounds(pace: Pace, clock: Clock, server, count: int) -> list[int]:
    """The limit after each of some rounds with every slot in use; `server` maps slots to seconds of an answer."""
    seen = []
    for _ in range(count):
        limit = pace.limit
        async with asyncio.timeout(5):
            held = [pace.slot() for _ in range(limit)]
            for slot in held:
                await slot.__aenter__()
            seconds = server(limit)
            clock.now += seconds
            for slot in held:
                pace.answered(seconds, 10)
                await slot.__aexit__(None, None, None)
        seen.append(pace.limit)
    return seen


def saturated(at: int, seconds: float):
    """A server that answers so many at once, each in `seconds`; further ones wait."""
    return lambda limit: seconds * max(1.0, limit / at)


def test_a_pace_that_does_not_adapt_keeps_its_limit():
    pace = Pace(7)
    for _ in range(50):
        pace.answered(1.0, 5)
    pace.pushed_back(time.monotonic())
    assert pace.limit == pace.highest == 7


def test_the_limit_doubles_while_that_makes_the_server_faster(clock: Clock):
    pace = Pace(1024, adapts=True)
    assert asyncio.run(rounds(pace, clock, saturated(512, 0.1), 5)) == [64, 128, 256, 512, 1024]


@pytest.mark.parametrize("capacity", [20, 64, 100, 300])
def test_it_settles_between_what_the_server_can_do_at_once_and_a_few_times_that(clock: Clock, capacity: int):
    pace = Pace(1024, adapts=True)
    asyncio.run(rounds(pace, clock, saturated(capacity, 0.1), 20))
    later = asyncio.run(rounds(pace, clock, saturated(capacity, 0.1), 40))
    assert min(later) >= 0.9 * capacity and max(later) <= 3.5 * capacity


def test_the_limit_never_exceeds_its_ceiling(clock: Clock):
    pace = Pace(50, adapts=True)
    assert max(asyncio.run(rounds(pace, clock, saturated(1000, 0.1), 10))) == 50


def test_a_latency_that_rises_without_more_answers_takes_slots_away_down_to_those_of_the_best_rate(clock: Clock):
    pace = Pace(1024, adapts=True)
    asyncio.run(rounds(pace, clock, saturated(64, 0.1), 10))
    assert asyncio.run(rounds(pace, clock, lambda limit: 5.0, 30))[-1] == 64


def test_a_busy_server_halves_the_limit_once_for_requests_that_were_sent_together(clock: Clock):
    pace = Pace(1024, adapts=True)
    asyncio.run(rounds(pace, clock, saturated(512, 0.1), 2))
    assert pace.limit == 128
    sent, clock.now = clock.now, clock.now + 1
    for _ in range(30):
        pace.pushed_back(sent)
    assert pace.limit == 64
    clock.now += 1
    pace.pushed_back(clock.now)
    assert pace.limit == 32


def test_after_a_busy_server_the_limit_grows_by_an_eighth_a_round(clock: Clock):
    pace = Pace(1024, adapts=True)
    asyncio.run(rounds(pace, clock, saturated(512, 0.1), 2))
    pace.pushed_back(clock.now)
    assert asyncio.run(rounds(pace, clock, saturated(512, 0.1), 2)) == [72, 81]


def test_a_slow_round_never_raises_a_limit_that_a_busy_server_lowered(clock: Clock):
    pace = Pace(1024, adapts=True)
    asyncio.run(rounds(pace, clock, saturated(256, 0.1), 6))
    for _ in range(6):
        clock.now += 1
        pace.pushed_back(clock.now)
    before = pace.limit
    assert asyncio.run(rounds(pace, clock, lambda limit: 5.0, 1))[0] <= before


def test_one_slot_is_always_left(clock: Clock):
    pace = Pace(16, adapts=True)
    for _ in range(20):
        clock.now += 1
        pace.pushed_back(clock.now)
    assert pace.limit == 1


def test_rounds_in_which_slots_stayed_empty_teach_nothing(clock: Clock):
    pace = Pace(1024, adapts=True)
    for _ in range(100):
        clock.now += 0.1
        pace.answered(0.1, 10)
    assert pace.limit == pace_module.START


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.sampled_from(["ask", "answer", "busy", "give up"]), max_size=80), st.integers(1, 5))
def test_slots_in_use_never_exceed_the_limit_and_no_turn_is_lost(events, ceiling):
    async def play():
        pace, holders, waiting = Pace(ceiling), [], []

        async def hold(release: asyncio.Event):
            async with pace.slot():
                holders.append(release)
                try:
                    await release.wait()
                finally:
                    holders.remove(release)

        for event in events:
            if event == "ask":
                release = asyncio.Event()
                waiting.append((asyncio.create_task(hold(release)), release))
            elif event == "answer" and holders:
                holders[0].set()
            elif event == "give up" and waiting:
                waiting.pop(len(waiting) // 2)[0].cancel()
            await asyncio.sleep(0)
            assert len(holders) <= ceiling
        for _, release in waiting:
            release.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*(task for task, _ in waiting), return_exceptions=True)
            async with asyncio.TaskGroup() as group:  # all slots are free again
                slots = [pace.slot() for _ in range(ceiling)]
                for slot in slots:
                    group.create_task(slot.__aenter__())

    asyncio.run(play())
