"""One request to stop and a second one, with a launcher and without."""

import os
import signal

import pytest

from trainer.training.callbacks import StopOnSignal


@pytest.fixture
def heard(monkeypatch) -> list[int]:
    """The signals that reach whoever handled them before."""
    numbers: list[int] = []
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    before = {number: signal.signal(number, lambda got, frame: numbers.append(got)) for number in StopOnSignal.SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_without_a_launcher_a_second_signal_acts_at_once(heard):
    with StopOnSignal() as stop:
        send(signal.SIGTERM)
        assert stop.requested and heard == []
        send(signal.SIGINT)
    assert heard == [signal.SIGINT]


def test_under_a_launcher_the_signal_that_it_passes_on_is_the_one_it_got(heard, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with StopOnSignal() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert stop.requested and heard == []
        assert capsys.readouterr().out.count("stopping at the next safe point") == 1
        stop._requested_at -= StopOnSignal.SECONDS_TO_PASS_ON
        send(signal.SIGTERM)
    assert heard == [signal.SIGTERM]
