"""What the campaign of hours calls growth: a leak, and nothing that comes and goes."""

from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
LAST = 10_000


@pytest.fixture
def hours(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from campaigns import hours

    return hours


def samples(hours, count=400, memory=lambda done: 5e8, handles=lambda done: 44):
    return [
        hours.Sample(done / 100, int(done), int(memory(done)), int(handles(done)), threads=4, disk=0)
        for done in np.linspace(0, LAST, count)
    ]


def test_a_process_that_stays_as_it_is_has_not_grown(hours):
    assert not list(hours.growth(samples(hours)))


def test_connections_that_come_and_go_are_no_growth(hours):
    rising = samples(hours, handles=lambda done: 12 if done % 1000 < 500 else 12 + 32 * done / LAST)

    assert not list(hours.growth(rising))


def test_what_is_opened_at_first_and_closed_at_last_is_no_growth(hours):
    ends = samples(hours, handles=lambda done: 12 if done < LAST / 3 or done > 0.96 * LAST else 44)

    assert not list(hours.growth(ends))


def test_a_handle_lost_at_each_restart_is_growth(hours):
    leaking = samples(hours, handles=lambda done: 12 + done // 500 + (0 if done % 1000 < 500 else 32))

    assert list(hours.growth(leaking)) == ["handles grew: at least 22 in the first half, at least 26 in the second."]


def test_memory_that_grows_by_more_than_seven_thousandths_is_growth(hours):
    assert not list(hours.growth(samples(hours, memory=lambda done: 5e8 + 400 * done)))
    [sentence] = hours.growth(samples(hours, memory=lambda done: 5e8 + 1000 * done))
    assert sentence.startswith("memory grew by 1e+03 ± ")


def test_too_few_samples_are_said(hours):
    [sentence] = hours.growth(samples(hours, count=20))
    assert sentence == "only 9 samples were taken behind the first half, expected 20 or more."
