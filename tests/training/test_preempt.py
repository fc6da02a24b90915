"""SIGTERM: noted in the block, and after it what it was before."""

import os
import signal
import threading

import pytest

from galc.training.preempt import Preemption


@pytest.fixture
def caught():
    """SIGTERM of this process is only noted."""
    got = []
    before = signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    yield got
    signal.signal(signal.SIGTERM, before)


def test_a_signal_in_the_block_is_noted_and_one_after_it_goes_where_it_went_before(caught):
    with Preemption() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked and not caught
    os.kill(os.getpid(), signal.SIGTERM)
    assert caught == [1]


def test_leaving_hands_the_signal_on_and_ends_the_process(caught):
    with pytest.raises(SystemExit) as end, Preemption() as stop:
        stop.leave()
    assert end.value.code == 143 and caught == [1]


def test_the_handler_is_put_back_after_an_error(caught):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), Preemption():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is handler


def test_off_the_main_thread_nothing_is_changed(caught):
    handler, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with Preemption() as stop:
            seen.append((stop.asked, signal.getsignal(signal.SIGTERM) is handler))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
