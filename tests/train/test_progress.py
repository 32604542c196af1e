"""What is printed while a run is silent, and what is left of it."""

import pytest

from jssl.train import progress
from jssl.train.loop import Timer
from jssl.train.throughput import Throughput


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when the test says so; the thread is not started."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(progress.threading.Thread, "start", lambda self: None)
    return now


def test_the_innermost_thing_that_is_done_is_named(clock):
    announcer = progress._Announcer()
    announcer.start()
    assert announcer.line(clock[0]) == ""
    announcer.base = "step 3/10, 2 min left"
    assert announcer.line(clock[0]) == "step 3/10, 2 min left"
    with announcer.at("evaluating"):
        clock[0] += 60
        with announcer.at("evaluating knn"):
            clock[0] += 45
            assert announcer.line(clock[0]) == "evaluating knn: 45 s so far"
        assert announcer.line(clock[0]) == "evaluating: 1 min 45 s so far"
    announcer.stop()
    assert (announcer.base, announcer.running) == ("", False)


def test_the_thread_speaks_after_a_silence_only(clock, monkeypatch, capsys):
    announcer, ticks = progress._Announcer(), []
    monkeypatch.setattr(progress, "_announcer", announcer)
    announcer.start()
    announcer.base = "step 3/10"

    class End:
        def wait(self, seconds):
            ticks.append(seconds)
            clock[0] += 16
            return len(ticks) > 5

    announcer._run(End())  # after 16, 32, 48, 64 and 80 seconds
    assert capsys.readouterr().out == "step 3/10\nstep 3/10\n"


def test_nobody_reads_any_more(monkeypatch):
    def closed(_):
        raise BrokenPipeError

    monkeypatch.setattr(progress.tqdm.tqdm, "write", closed)
    progress.say("a line")


def test_the_first_steps_do_not_tell_how_long_the_rest_takes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    throughput = Throughput(8, 0.0, {"steps": 100, "train_seconds": 1000.0})
    found = []
    for seconds in (60.0, 30.0, 2.0, 2.0, 2.0, 2.0):
        now[0] += seconds
        throughput.step(0.0)
        found.append(throughput.seconds_per_step())
    assert found[:4] == [None] * 4
    assert found[4:] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("every", "step", "left"), [(0, 5, 1), (3, 0, 4), (3, 3, 3), (3, 9, 1), (4, 9, 1), (4, 7, 2)]
)
def test_how_many_evaluations_are_left(every, step, left):
    timer = Timer.__new__(Timer)
    timer._total, timer._eval = 10, every
    assert timer.evaluations_left(step) == left
    assert left == 1 + sum(timer.evaluates(later) for later in range(step + 1, 11))


def test_of_many_images_it_is_said_how_many_and_how_fast(clock):
    with progress._announcer.at("features of digits", 1000) as task:
        clock[0] += 4
        assert progress._announcer.line(clock[0]) == "features of digits: 4 s so far"
        task.done(200)
        assert progress._announcer.line(clock[0]) == "features of digits: 200 of 1,000 images, 50 images/s"
    with progress.counting("features", 3) as done:
        done(3)
        assert progress._announcer.line(clock[0]).startswith("features: 3 of 3 images")
