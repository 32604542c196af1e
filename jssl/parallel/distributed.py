"""How the processes of one run find one another."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jax._src import distributed as jax_distributed

from jssl.errors import UserError
from jssl.parallel import heartbeat

AUTO = "auto"
ENVIRONMENT = ("JSSL_COORDINATOR", "JSSL_NUM_PROCESSES", "JSSL_PROCESS_ID")
PATIENCE_MS = 600_000  # that process 0 may take to say what it has
GRACE = 60  # seconds by which JAX's own timeouts, which abort from C++, come after ours


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where process 0 listens, how many processes there are, and which one this is."""

    host: str
    port: int
    processes: int
    process: int


def settings(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    environment: Mapping[str, str] = os.environ,
) -> Settings | str | None:
    """The settings from flags and environment, flags first: `Settings`, 'auto', or None for a single process.

    Raises:
      UserError: if some of the three are missing, or they do not fit together.
    """
    flags = [None if flag is None else str(flag) for flag in (coordinator, num_processes, process_id)]
    given = [flag or environment.get(name) or None for flag, name in zip(flags, ENVIRONMENT)]
    address, count, number = given
    if address == AUTO:
        return AUTO
    if address is None and count is None and number is None:
        return None
    if address is None or count is None or number is None:
        raise UserError(
            "--coordinator, --num_processes and --process_id (or JSSL_COORDINATOR, JSSL_NUM_PROCESSES and "
            "JSSL_PROCESS_ID) belong together: give all three or none"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={address} must be HOST:PORT of process 0, or 'auto'")
    if not count.isdigit() or int(count) < 1:
        raise UserError(f"--num_processes={count} must be at least 1")
    if not number.isdigit() or int(number) >= int(count):
        raise UserError(
            f"--process_id={number} must be from 0 to {int(count) - 1}, for --num_processes={count}"
        )
    return Settings(host, int(port), int(count), int(number))


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    start_timeout: int = 300,
    peer_timeout: int = 30,
) -> None:
    """Joins the processes of one run; call before anything touches a device.

    With nothing given this is a single process. On a TPU VM, on GKE and under SLURM `coordinator='auto'` lets JAX find
    the others.

    Args:
      coordinator, num_processes, process_id: see `settings`.
      start_timeout: seconds in which all processes must have come.
      peer_timeout: seconds after which a process that gives no sign of life counts as dead.

    Raises:
      UserError: for settings that do not fit, and if the others cannot be found.
    """
    if start_timeout < 1 or peer_timeout < 5:
        raise UserError("--start_timeout must be at least 1 second, --peer_timeout at least 5")
    found = settings(coordinator, num_processes, process_id)
    if found is None:
        return
    timeouts: dict[str, Any] = {
        "initialization_timeout": start_timeout + GRACE,
        "heartbeat_timeout_seconds": peer_timeout + 15,
        "shutdown_timeout_seconds": 60,
    }
    if isinstance(found, Settings):
        if found.process == 0:
            _check_port(found.port)
        with _deadline(found, start_timeout):
            jax.distributed.initialize(
                f"{found.host}:{found.port}",
                found.processes,
                found.process,
                cluster_detection_method="deactivate",
                **timeouts,
            )
    else:
        try:
            with _deadline(None, start_timeout):
                jax.distributed.initialize(**timeouts)
        except (RuntimeError, OSError) as error:  # a cluster, in which somebody does not answer
            heartbeat.leave(f"--coordinator=auto: {' '.join(str(error).split())}", heartbeat.TRY_AGAIN)
        except ValueError as error:
            raise UserError(
                f"--coordinator=auto finds no cluster ({error}); it knows TPU VMs, GKE and SLURM. Elsewhere give "
                "--coordinator=HOST:PORT, --num_processes and --process_id"
            ) from error
    state = jax_distributed.global_state
    if state.num_processes > 1:
        heartbeat.start(state.client, state.process_id, state.num_processes, peer_timeout)


def _check_port(port: int) -> None:
    """JAX's coordination service crashes on a port that is taken."""
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"process 0 cannot listen on port {port} ({error.strerror}): give --coordinator another port"
            ) from error


@contextlib.contextmanager
def _deadline(found: Settings | None, seconds: int) -> Iterator[None]:
    """Ends the process with a line if the others do not come; JAX's own timeout would abort from C++."""

    def give_up() -> None:
        print(f"jssl: {_missing(found, seconds)}", file=sys.stderr, flush=True)
        os._exit(heartbeat.TRY_AGAIN)  # a machine that restarts, likely

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _missing(found: Settings | None, seconds: int) -> str:
    """What did not happen in time."""
    if found is not None and found.process > 0:
        try:
            socket.create_connection((found.host, found.port), timeout=1).close()
        except OSError:
            return (
                f"the coordinator {found.host}:{found.port} did not answer for {seconds} s: is process 0 running, "
                "and may this machine reach that port? (--start_timeout waits longer)"
            )
    count = "the" if found is None else f"the {found.processes}"
    return (
        f"not all of {count} processes came within {seconds} s: start every one, with the same --coordinator and "
        "--num_processes and a --process_id of its own (--start_timeout waits longer)"
    )


_asked = itertools.count()


def check_equal(values: Mapping[str, Any]) -> None:
    """Every process says what it has; those that have something else than process 0 end the run.

    Args:
      values: JSON by what messages call it.

    Raises:
      UserError: that names the first that differs.
    """
    if jax.process_count() == 1:
        return
    client: Any = jax_distributed.global_state.client
    key = f"jssl/equal/{next(_asked)}"
    ours = json.loads(json.dumps(dict(values)))
    if jax.process_index() == 0:
        client.key_value_set(key, json.dumps(ours))
    theirs = json.loads(client.blocking_key_value_get(key, PATIENCE_MS))
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"{name} differs among the processes: {theirs.get(name)!r} in process 0, {ours.get(name)!r} in process "
                f"{jax.process_index()}; start all with the same command, code and data"
            )
    client.wait_at_barrier(f"{key}/all", PATIENCE_MS)  # nobody goes on before all have agreed
