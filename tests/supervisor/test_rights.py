from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from dualsys.supervisor.rights import GRANTED, claim, freeze
from dualsys.supervisor.table import ProcessRow

ASK = """
import sys, msgspec
from dualsys.supervisor.rights import claim, freeze
from dualsys.supervisor.table import ProcessRow
row = msgspec.json.decode(sys.argv[1], type=ProcessRow)
print(msgspec.json.encode(claim(row) | freeze(row)).decode())
"""


def asked(row: ProcessRow, before: str = "") -> dict[str, str]:
    """In a process of its own: rights stay with whoever got them."""
    words = [sys.executable, "-c", before + ASK, msgspec.json.encode(row).decode()]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return msgspec.json.decode(told, type=dict[str, str])


def test_nothing_is_claimed_that_the_row_does_not_want() -> None:
    assert claim(ProcessRow()) == freeze(ProcessRow()) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="rights are Linux's")
def test_what_is_in_force_was_looked_up() -> None:
    core = min(os.sched_getaffinity(0))
    told = asked(ProcessRow(cores=(core,), freeze_gc=True))
    assert told == {"cores": GRANTED, "freeze_gc": GRANTED}


@pytest.mark.skipif(sys.platform != "linux", reason="rights are Linux's")
def test_a_core_that_is_not_there_is_told_with_those_that_are() -> None:
    told = asked(ProcessRow(cores=(100_000,)))["cores"]
    assert told.startswith("Invalid argument; this machine has the cores [")


@pytest.mark.skipif(sys.platform != "linux", reason="rights are Linux's")
def test_what_the_system_refuses_is_told_with_the_remedy() -> None:
    """As an ordinary user without limits raised, whoever runs the test."""
    weak = "import os, resource\n" + "".join(
        f"resource.setrlimit(resource.{name}, (0, 0))\n"
        for name in ("RLIMIT_RTPRIO", "RLIMIT_MEMLOCK")
    )
    drop = "os.setuid(65534)\n" if os.geteuid() == 0 else ""
    # What is imported later is found by root alone, on some machines.
    load = "import msgspec, dualsys.supervisor.rights, dualsys.supervisor.table\n"
    told = asked(ProcessRow(priority=50, lock_memory=True), load + weak + drop)
    assert told["priority"] == "Operation not permitted; give CAP_SYS_NICE or raise RLIMIT_RTPRIO"
    assert told["lock_memory"].endswith("; give CAP_IPC_LOCK or raise RLIMIT_MEMLOCK")


@pytest.mark.skipif(sys.platform != "linux", reason="rights are Linux's")
def test_with_the_right_to_them_priority_and_locked_memory_are_in_force() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may take them here")
    told = asked(ProcessRow(priority=10, lock_memory=True))
    if told["priority"] != GRANTED or told["lock_memory"] != GRANTED:
        pytest.skip(f"root may not take them here: {told}")
    assert told == {"priority": GRANTED, "lock_memory": GRANTED}
