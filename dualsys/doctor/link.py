"""The way to a System 2 on another machine, where the configuration names one."""

from __future__ import annotations

import time
from typing import Any

from dualsys.doctor.finding import Finding
from dualsys.door import NOBODY, OPEN, knock
from dualsys.runtime import link

PATIENCE_S = 5.0


def check(config: dict[str, Any]) -> list[Finding]:
    """Whether `link.requests` answers and lets these keys in; nothing where none is named."""
    if not config["requests"]:
        return []
    link.check_served(config)
    endpoint, keys = link.client_end(config)
    begun = time.monotonic()
    return [judged(endpoint, knock(endpoint, keys, PATIENCE_S), time.monotonic() - begun)]


def judged(endpoint: str, answer: str, took_s: float) -> Finding:
    """What such an answer means."""
    if answer == OPEN:
        return Finding("link", "good", f"{endpoint} opens, after {1e3 * took_s:.0f} ms")
    if answer == NOBODY:
        remedy = "start `dualsys serve system2` there; see whether a firewall closes the port"
        return Finding("link", "bad", f"nobody answers at {endpoint}", remedy)
    remedy = {
        "not_allowed": "make this client's keys there (`dualsys keys`), and start the service anew",
    }.get(
        answer, "carry clients/NAME of the keys that the service was started with to this machine"
    )
    return Finding("link", "bad", f"{endpoint} turns these keys away ({answer})", remedy)
