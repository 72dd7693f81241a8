"""Work shared among processes gives what one process gives, and ends as one does."""

import os
import signal
import threading
import time

import pytest

from trainer.errors import Stopped, TrainerError, UsageError
from trainer.run import shares


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(shares, "SHARE", 7)


def test_results_come_in_the_order_of_the_things_whoever_made_them(two_cores):
    found = shares.in_shares(50, lambda start, end: ([n * n for n in range(start, end)], os.getpid()), "squares")
    assert [n for some, _ in found for n in some] == [n * n for n in range(50)]
    assert len({pid for _, pid in found} - {os.getpid()}) == 2


def test_few_things_are_done_here(two_cores):
    assert shares.in_shares(7, lambda start, end: (start, end, os.getpid()), "things") == [(0, 7, os.getpid())]
    assert shares.in_shares(0, lambda start, end: start, "things") == []


def test_an_error_for_the_user_comes_through_and_no_process_is_left(two_cores):
    def work(start, end):
        if start == 14:
            raise UsageError("row 15 is bad")
        return start

    with pytest.raises(UsageError, match="row 15 is bad"):
        shares.in_shares(70, work, "things")
    assert not shares.multiprocessing.active_children()


def test_a_process_that_is_killed_is_an_error_and_not_a_wait(two_cores):
    def work(start, end):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(TrainerError, match="was killed"):
        shares.in_shares(50, work, "things")


def test_a_signal_ends_it_at_once_and_the_handlers_are_those_of_before(two_cores):
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Stopped, match="nothing was begun"):
        shares.in_shares(50, lambda start, end: time.sleep(60), "things")
    assert signal.getsignal(signal.SIGTERM) is before
    assert not shares.multiprocessing.active_children()
