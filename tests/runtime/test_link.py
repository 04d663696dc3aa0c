"""A link that could not work, or would be open to others, is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.keys import make_keys
from dualsys.runtime import link
from dualsys.runtime.realtime import realtime


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    make_keys(tmp_path / "keys", ["robot"])
    return {
        "server_keys": str(tmp_path / "keys"),
        "client_keys": str(tmp_path / "keys/clients/robot"),
    }


def given(**words: str) -> dict[str, Any]:
    return {"requests": "", "bind": "", "server_keys": "", "client_keys": "", **words}


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"requests": "tcp://127.0.0.1:7300"},
        {"requests": "tcp://[::1]:7300"},
        {"requests": "ipc:///tmp/anywhere.sock"},
    ],
)
def test_local_links_need_nothing(words: dict[str, str], tmp_path: Path) -> None:
    link.check(given(**words), tmp_path)


def test_a_link_that_others_can_reach_needs_both_keys(keys: dict[str, str], tmp_path: Path) -> None:
    open_to_all = {"requests": "tcp://127.0.0.1:7300", "bind": "tcp://*:7300"}
    link.check(given(**open_to_all, **keys), tmp_path)
    with pytest.raises(DualsysError, match=r"tcp://\*:7300 can be reached from other machines"):
        link.check(given(**open_to_all), tmp_path)
    for side, other in (("server", "client"), ("client", "server")):
        one = {f"{side}_keys": keys[f"{side}_keys"]}
        with pytest.raises(DualsysError, match=f"link.{side}_keys are given and link.{other}_keys"):
            link.check(given(requests="tcp://127.0.0.1:7300", **one), tmp_path)
    with pytest.raises(DualsysError, match="is on another machine and no keys are given"):
        link.check(given(requests="tcp://10.0.0.2:7300", bind="tcp://127.0.0.1:7300"), tmp_path)


@pytest.mark.parametrize(
    "address", ["7300", "tcp://127.0.0.1", "tcp://:7300", "tcp://h:99999", "http://h:80", "ipc://"]
)
def test_what_is_no_address_is_told_by_its_key(address: str, tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match=f"link.requests={address} is no address; give tcp"):
        link.check(given(requests=address, bind="tcp://127.0.0.1:7300"), tmp_path)
    with pytest.raises(DualsysError, match=f"link.bind={address} is no address"):
        link.check(given(bind=address), tmp_path)


def test_an_open_bind_starts_nothing(tmp_path: Path) -> None:
    words = ["scenario=driving/merge", "runtime=realtime", "system2=scripted", f"out={tmp_path}"]
    config = load("eval", [*words, "link.bind=tcp://*:7300", "link.requests=tcp://127.0.0.1:7300"])

    def started(*_: object) -> None:
        pytest.fail("processes were started")

    with pytest.raises(DualsysError, match="can be reached from other machines"):
        realtime(config, "driving/merge", [0], started)
    assert not (tmp_path / "log.mcap").exists()
