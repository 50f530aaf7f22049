"""Joining a Ray cluster, or starting one on this machine: quietly, and refused soon where nothing answers."""

import logging
import os
import socket
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.engine.processes import own_signals

# Seconds that a cluster has to take a connection. Ray itself tries for more than ten minutes, and sees no signal.
ANSWER = 10.0


def connect(address: str | None) -> None:
    """Join the cluster at an address; None is that of RAY_ADDRESS, or else a new one on this machine.

    Raises:
        UserError: No cluster answers there.
    """
    import ray

    where = os.environ.get("RAY_ADDRESS", address) if address in (None, "auto") else address
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        reach(where or "")
        with own_signals():  # Ray sets a handler of its own
            ray.init(address=address, include_dashboard=None if where else False, **options)
    except (OSError, ValueError, RuntimeError) as error:
        found = str(error).splitlines() or [type(error).__name__]
        why = getattr(error, "strerror", None) or found[0].rstrip(".")
        raise UserError(f"No Ray cluster answers at {where or 'this machine'} ({why}).") from None


def reach(address: str) -> None:
    """Open and close a connection to an address that names a port.

    Raises:
        OSError: Nothing answers.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
