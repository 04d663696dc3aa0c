"""A run whose System 2 is on another machine: asked before anything starts whether it will do."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

import dualsys
from dualsys.bus import RequestClient
from dualsys.clock import Clock
from dualsys.door import NOBODY, OPEN, knock
from dualsys.errors import DualsysError
from dualsys.faults.fault import declared
from dualsys.handshake import Caller
from dualsys.messages import Introduction, Stamp
from dualsys.runtime import link
from dualsys.runtime.nodes.common import Run

NAME = "served"
FIRST_ANSWER_S = 3.0  # from who is there, over a link that is bad


def is_served(config: dict[str, Any]) -> bool:
    """Whether System 2 is elsewhere."""
    return bool(config["system2"]["name"] == NAME)


def introduction(run: Run) -> Introduction:
    """How a run introduces itself."""
    stamp, budget = Stamp(run.session, 0, 0, 0, 0), run.config["system2"]["budget"]
    return Introduction(stamp, dualsys.__version__, run.spec, run.plans, budget)


def check(config: dict[str, Any]) -> None:
    """Refuse a run that could not ask anybody. Raises `DualsysError`."""
    link.check_served(config["link"])
    if any(fault.place == "system2" for fault in declared(config)):
        raise DualsysError(
            "faults.declared names system2, which is on another machine here (system2=served); "
            "declare them at the place link, or run System 2 here"
        )


def call_ahead(run: Run, clock: Clock) -> dict[str, str]:
    """Introduce a run before it starts; what System 2 says of itself, {} if it is not ready.

    Waits for it to load (`runtime.planner_patience_s`). Without an answer the run begins alone and
    is joined later. Raises `DualsysError` where keys are turned away and where System 2 refuses.
    """
    endpoint, keys = link.client_end(run.config["link"])
    found = knock(endpoint, keys, FIRST_ANSWER_S)
    if found not in (OPEN, NOBODY):
        raise DualsysError(
            f"System 2 at {endpoint} turns this run away ({found}): "
            + (
                "the key of link.client_keys is not on its list; make it with `dualsys keys` "
                "there, and start the service anew"
                if found == "not_allowed"
                else "the keys of both sides do not belong together; carry clients/NAME of the "
                "folder that it was started with (link.server_keys) to this machine"
            )
        )
    if found == NOBODY:
        return _without(f"nobody listens at {endpoint}")
    with RequestClient(endpoint, keys) as client:
        return _converse(client, Caller(introduction(run)), run, clock)


def _converse(client: RequestClient, caller: Caller, run: Run, clock: Clock) -> dict[str, str]:
    endpoint = run.config["link"]["requests"]
    begin, patience_s = clock.now_ns(), run.config["runtime"]["planner_patience_s"]
    said = ""
    while clock.now_ns() - begin < 1e9 * (max(patience_s, FIRST_ANSWER_S)):
        words = caller.due(clock.now_ns())
        if words is not None:
            client.introduce(words)
        client.poll(50)
        client.update(clock.now_ns())
        if client.foreign:
            raise DualsysError(f"System 2 at {endpoint} can not be understood: {client.foreign}")
        for admission in client.admissions():
            caller.hear(admission, clock.now_ns())
        if caller.admission is None:
            continue
        if caller.state == "ready":
            return caller.admission.planner
        if caller.state == "refused":
            raise DualsysError(
                f"System 2 at {endpoint} refuses this run: {caller.admission.reason}"
            )
        if caller.state != said:
            said = caller.state
            sys.stderr.write(f"dualsys: {endpoint}: {caller.admission.reason}\n")
    why = "it says nothing" if caller.admission is None else caller.admission.reason
    return _without(f"System 2 at {endpoint} is not ready ({why})")


def _without(why: str) -> dict[str, str]:
    sys.stderr.write(
        f"dualsys: {why}; the run begins without it, and is joined by it when it is there\n"
    )
    return {}


def report(counts: dict[str, Any], planner: dict[str, str]) -> dict[str, Any]:
    """What results say of the link: `counts` are System 1's."""
    from dualsys.runtime.results import percentiles_ms

    told: dict[str, Any] = counts.get("elsewhere", {})
    return {
        "served_by": told.get("planner") or planner,
        "round_trip": percentiles_ms(told.get("round_trip_ns", [])),
        "introductions": told.get("said", 0),
        "answered": told.get("heard", 0),
    }


def restamped(stamp: Stamp, now_ns: int) -> Stamp:
    """A stamp of another machine under the clock of this one: when it arrived."""
    return msgspec.structs.replace(stamp, time_ns=now_ns)
