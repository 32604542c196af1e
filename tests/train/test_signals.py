"""What a signal does, in this process; tests/test_kill.py has whole runs."""

import signal

import pytest

from jssl import cli
from jssl.parallel import heartbeat
from jssl.train.signals import STOPPING, Interrupted, signals_noted, signals_stop


@pytest.mark.parametrize("number", STOPPING)
def test_one_is_noted_or_stops_and_then_all_is_as_before(number, capsys):
    before = [signal.getsignal(each) for each in STOPPING]
    with signals_stop(7):
        with signals_noted() as event:
            assert not event.is_set()
            signal.raise_signal(number)
            assert event.is_set()
        with pytest.raises(Interrupted, match="saved at step 7"):
            signal.raise_signal(number)
    with signals_stop(), pytest.raises(Interrupted, match=r"^stopped$"):
        signal.raise_signal(number)
    assert [signal.getsignal(each) for each in STOPPING] == before
    assert ("Ctrl-C again stops at once" in capsys.readouterr().err) == (number == signal.SIGINT)


def test_a_second_ctrl_c_is_pythons_own_and_one_line(monkeypatch):
    with signals_noted():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    left = []
    monkeypatch.setattr(heartbeat, "leave", lambda message, status: left.append((message, status)))

    def main(_):
        raise KeyboardInterrupt

    cli._guarded(main, [])
    assert left == [("stopped at once: run the same command again to go on from the last checkpoint", 130)]
