"""Whether the other processes of this run are alive, and why they left if they did.

By itself JAX waits for a process that died, in a collective, or aborts from C++. So every process writes a
heartbeat to the key-value store of JAX's coordination service, which lives in process 0, and process 0 notices when
one stops. A process that leaves before the end says why; the others read it and leave, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

TRY_AGAIN = 75  # exit status EX_TEMPFAIL: nobody's mistake, the same command may well succeed
PERIOD = 1.0  # seconds between heartbeats
PATIENCE = 5.0  # seconds without a heartbeat that mean death when something went wrong
VERDICT = 20.0  # seconds that a process with an error waits to hear of a death, also on a busy machine
LAST = 3.0  # seconds that process 0 stays, because the others read in its store why the run ends
BEAT, END = "jssl/heartbeat", "jssl/end"
AGAIN = "run the same command again to go on from the last checkpoint"


class Heartbeat:
    """Sends the heartbeat of this process and, in process 0, notices when one of the others stops.

    Args:
      client: of JAX's coordination service.
      process, processes: which one this is, of how many.
      silence: seconds without a heartbeat that mean death when nothing else looks wrong.
    """

    def __init__(self, client: Any, process: int, processes: int, silence: float):
        self._client, self._process, self._silence = client, process, silence
        self._seen = {f"{BEAT}/{number}": ("", time.monotonic()) for number in range(processes)}
        self._beats = 0
        self._saw_error = False
        self._stopped = threading.Event()
        self._ending = threading.Lock()
        self._aborts = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)
        _on_abort(ctypes.cast(self._aborts, ctypes.c_void_p))
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """The run is over; from now on it is no death if others end."""
        self._stopped.set()
        _on_abort(None)

    def check_others(self) -> None:
        """Call after an error that a dead process may have caused: if there is one, this does not return."""
        self._saw_error = True
        self._stopped.wait(VERDICT)

    def leave(self, message: str, status: int) -> NoReturn:
        """Ends this process at once, without JAX's farewell, in which all would wait for all."""
        self._ending.acquire()
        with contextlib.suppress(Exception):
            self._announce(f"process {self._process} has stopped: {message}", status)
        self._exit(message, status)

    def _run(self) -> None:
        answered = time.monotonic()
        while not self._stopped.wait(PERIOD):
            try:
                self._beat()
                answered = time.monotonic()
            except Exception:  # the store does not answer
                if time.monotonic() - answered > PATIENCE and not self._stopped.is_set():
                    self._end(f"another process of this run has died (process 0); {AGAIN}", TRY_AGAIN)

    def _beat(self) -> None:
        self._beats += 1
        beat = f"{self._beats}{'!' if self._saw_error else ''}"
        self._client.key_value_set(f"{BEAT}/{self._process}", beat, allow_overwrite=True)
        if self._process == 0:
            self._check_beats()
        for key, why in self._client.key_value_dir_get(END):
            if key != f"{END}/{self._process}":
                self._end(*json.loads(why))

    def _check_beats(self) -> None:
        """Ends the run if a beat has stopped; a '!' says that somebody met an error."""
        now = time.monotonic()
        beats = dict(self._client.key_value_dir_get(BEAT))
        for key, beat in beats.items():
            if self._seen[key][0] != beat:
                self._seen[key] = (beat, now)
        patience = PATIENCE if any(beat.endswith("!") for beat in beats.values()) else self._silence
        dead = [key.rpartition("/")[2] for key, (_, when) in self._seen.items() if now - when > patience]
        if dead:
            message = f"another process of this run has died (process {', '.join(dead)}); {AGAIN}"
            self._announce(message, TRY_AGAIN)
            self._end(message, TRY_AGAIN)

    def _announce(self, message: str, status: int) -> None:
        self._client.key_value_set(f"{END}/{self._process}", json.dumps([message, status]))

    def _end(self, message: str, status: int) -> None:
        self._ending.acquire()
        self._exit(message, status)

    def _exit(self, message: str, status: int) -> NoReturn:
        print(f"jssl: {message}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        if self._process == 0:
            time.sleep(LAST)
        _end_now(status)

    def _aborted(self, _: int) -> None:
        """JAX's C++ aborts when the coordination service goes away; it may be faster than we are."""
        line = f"jssl: another process of this run has died, or JAX says above what else happened; {AGAIN}\n"
        os.write(2, line.encode())
        os._exit(TRY_AGAIN)


def _on_abort(handler: ctypes.c_void_p | None) -> None:
    """Sets the handler of SIGABRT; Python's own would wait for the interpreter, which never gets its turn."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, handler)


_heartbeat: Heartbeat | None = None


def start(client: Any, process: int, processes: int, silence: float) -> None:
    """Begins to send heartbeats, and to watch those of the other processes, until `stop`."""
    global _heartbeat
    _heartbeat = Heartbeat(client, process, processes, silence)


def watching() -> bool:
    """Whether this run has several processes."""
    return _heartbeat is not None


def stop() -> None:
    """Ends the heartbeat, because the run is over."""
    if _heartbeat is not None:
        _heartbeat.stop()


def check_others() -> None:
    """After an error: ends this process if another one has died; returns at once if there are no others."""
    if _heartbeat is not None:
        _heartbeat.check_others()


def _end_now(status: int) -> NoReturn:
    """Ends this process and the workers that read its images."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(status)


def leave(message: str, status: int) -> NoReturn:
    """One line on stderr and the end, of this process and, if there are others, of the whole run.

    At once: a thread of a save that has failed may wait for ever.
    """
    if _heartbeat is not None:
        _heartbeat.leave(message, status)
    print(f"jssl: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    _end_now(status)
