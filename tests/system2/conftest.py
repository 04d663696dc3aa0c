from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dualsys.system2.language import LanguageModel
from tests.chat_server import Server


@pytest.fixture(scope="session")
def language(language_folder: Path) -> LanguageModel:
    return LanguageModel.load(language_folder)


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[Server] = []

    def start(*script: Any) -> Server:
        servers.append(Server(list(script)))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
