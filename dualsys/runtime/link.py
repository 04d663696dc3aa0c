"""The link between the systems, as a run's configuration has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dualsys.bus import ipc, is_local, refuse_open
from dualsys.errors import DualsysError
from dualsys.keys import Keys, client_keys, server_keys


def server_end(link: dict[str, Any], folder: Path) -> tuple[str, Keys | None]:
    """Where System 2 listens, and its keys; `folder` is the run's. Raises `DualsysError`."""
    endpoint = link["bind"] or link["requests"] or ipc(folder, "requests")
    return endpoint, server_keys(Path(link["server_keys"])) if link["server_keys"] else None


def service_end(link: dict[str, Any]) -> tuple[str, Keys | None]:
    """Where a System 2 for other machines listens, and its keys. Raises `DualsysError`."""
    endpoint = link["bind"] or link["requests"]
    if not endpoint:
        raise DualsysError("say where to listen: link.bind=tcp://*:PORT link.server_keys=FOLDER")
    _check_address("bind" if link["bind"] else "requests", endpoint)
    keys = server_keys(Path(link["server_keys"])) if link["server_keys"] else None
    refuse_open(endpoint, keys)
    return endpoint, keys


def client_end(link: dict[str, Any], folder: Path | None = None) -> tuple[str, Keys | None]:
    """Where System 1 finds it, and its keys. Raises `DualsysError`.

    Without a `folder` the configuration has to say where.
    """
    endpoint = link["requests"] or ("" if folder is None else ipc(folder, "requests"))
    return endpoint, client_keys(Path(link["client_keys"])) if link["client_keys"] else None


def check(link: dict[str, Any], folder: Path) -> None:
    """Refuse what would only show when processes run, or not at all. Raises `DualsysError`.

    That is an address that is none, a bind that is open to others, keys that can not be read, and
    an end with keys where the other one has none: it would never answer.
    """
    bound, server = server_end(link, folder)
    found, client = client_end(link, folder)
    for key, endpoint in (("bind", bound), ("requests", found)):
        _check_address(key, endpoint)
    refuse_open(bound, server)
    if (server is None) != (client is None):
        has, lacks = ("client", "server") if server is None else ("server", "client")
        raise DualsysError(
            f"link.{has}_keys are given and link.{lacks}_keys are not, so that the two ends would "
            "not talk; give both (`dualsys keys` makes them), or neither"
        )
    if client is None and not is_local(found):
        raise DualsysError(
            f"link.requests={found} is on another machine and no keys are given; give "
            "link.client_keys and link.server_keys (`dualsys keys` makes them)"
        )


def check_served(link: dict[str, Any]) -> None:
    """As `check`, for a run whose System 2 is on another machine. Raises `DualsysError`."""
    found, keys = client_end(link)
    if not found:
        raise DualsysError(
            "system2=served needs link.requests=tcp://HOST:PORT, where `dualsys serve system2` "
            "listens, and link.client_keys=FOLDER"
        )
    _check_address("requests", found)
    if keys is None and not is_local(found):
        raise DualsysError(
            f"link.requests={found} is on another machine and no keys are given; give "
            "link.client_keys, the folder clients/NAME that `dualsys keys` made there"
        )


def _check_address(key: str, endpoint: str) -> None:
    if not _is_address(endpoint):
        raise DualsysError(
            f"link.{key}={endpoint} is no address; give tcp://HOST:PORT, or ipc://FILE"
        )


def _is_address(endpoint: str) -> bool:
    if endpoint.startswith("ipc://"):
        return endpoint != "ipc://"
    try:
        parts = urlsplit(endpoint)
        return parts.scheme == "tcp" and bool(parts.port) and bool(parts.hostname)
    except ValueError:  # of a port that is none
        return False
