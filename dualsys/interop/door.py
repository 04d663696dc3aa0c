"""Who may come in to a server that speaks another stack's protocol: this machine alone.

None of these protocols encrypts or knows who asks, so that their servers listen on loopback alone.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from dualsys.clock import Clock
from dualsys.environment import service_manager
from dualsys.errors import DualsysError
from dualsys.interop.host import Adviser, say
from dualsys.supervisor.notify import Notifier
from dualsys.supervisor.supervisor import terminable, uninterrupted

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PERIOD_S = 0.02


def require_loopback(host: str, port: int) -> None:
    """Raise `DualsysError` for an address that other machines can reach."""
    if host not in LOOPBACK:
        raise DualsysError(
            f"peer.host={host} can be reached from other machines, and this protocol neither "
            "encrypts nor knows who asks; listen on 127.0.0.1 and carry the port over: ssh -L "
            f"{port}:127.0.0.1:{port} HOST"
        )


def key_fits(key: str, shown: object) -> bool:
    """Whether what a client shows is the key; without one everybody on this machine may ask."""
    return not key or hmac.compare_digest(key.encode(), str(shown).encode())


def stay(
    address: str,
    adviser: Adviser | None,
    clock: Clock,
    spend: Callable[[float], None] = time.sleep,
) -> None:
    """Look after System 2 until told to end (Ctrl-C, SIGTERM); `spend` uses the time between."""
    notifier = Notifier(*service_manager())
    with terminable():
        try:
            say(f"listening at {address}")
            notifier.ready(f"listening at {address}")
            while True:
                spend(PERIOD_S)
                if adviser is not None:
                    adviser.look_after(clock.now_ns())
                notifier.alive(clock.now_ns())
        except KeyboardInterrupt:  # how a server ends
            say("told to end")
        finally:
            with uninterrupted():
                notifier.stopping()
                if adviser is not None:
                    adviser.close()
