"""An OpenAI-compatible chat endpoint (vLLM and the like): images and text in, JSON text out.

Everything happens inside one deadline: connecting, retrying, and reading an answer that trickles,
headers and all.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from dualsys.errors import DualsysError

MAX_ANSWER_BYTES = 1 << 20
PAUSES_S = (0.05, 0.2, 0.5, 1.0)  # between attempts; no more attempts than these and one
RESOLVERS = 2  # threads that look names up: the one thing that nobody can cancel
AGAIN = (429, 500, 502, 503, 504)  # the server may do better next time


class EndpointConfig(msgspec.Struct, frozen=True):
    """Where to ask, whom, and for how long."""

    url: str  # up to and including the version: http://127.0.0.1:8000/v1
    model: str
    deadline_s: float = 2.0
    max_tokens: int = 200

    def check(self) -> None:
        """Raise `DualsysError` for a setting that is none."""
        if not self.url.startswith(("http://", "https://")):
            raise DualsysError(
                f"system2.url must begin with http:// or https://, it is {self.url!r}; a server on "
                "this machine is http://127.0.0.1:8000/v1"
            )
        try:
            parts = urlsplit(self.url)
            named = bool(parts.hostname) and parts.port != 0
        except ValueError:  # of a port that is none, or brackets without an end
            named = False
        if not named:
            raise DualsysError(f"system2.url {self.url!r} names no host, or no port that is one")
        if not self.model:
            raise DualsysError("system2.model is empty; give the name under which it is served")
        if not 0 < self.deadline_s < 600:
            raise DualsysError(f"system2.deadline_s must be above zero, it is {self.deadline_s}")


class EndpointError(Exception):
    """No usable answer; `reason` is one word for the counters."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class ChatEndpoint:
    """Asks the endpoint. `retries` counts the attempts after the first ones.

    An attempt is a coroutine with a connection of its own; at the deadline it is cancelled,
    wherever it stands, and the connection closed. No thread is left behind but one that looks a
    name up: there are `RESOLVERS` of them at most.
    """

    name, local = "remote", False

    def __init__(
        self,
        config: EndpointConfig,
        key: str = "",
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise DualsysError(f"system2=remote needs the extra `remote` ({error})") from error
        config.check()
        self._http, self._config = httpx2, config
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._tls = httpx2.create_ssl_context()  # reading the certificates takes its time: once
        loop = self._loop = asyncio.new_event_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVERS, "resolver"))
        weakref.finalize(self, loop.close)
        self._now, self._sleep = now, sleep
        self.retries = 0

    def ask(self, images: Sequence[np.ndarray], text: str, schema: dict[str, Any]) -> str:
        """The text of the answer to `text` about `images` uint8 (H, W, 3).

        Raises `EndpointError`: "unreachable", "slow", "refused" or "malformed".
        """
        end = self._now() + self._config.deadline_s
        body = self._body(images, text, schema)
        error = EndpointError("slow", "no time for an attempt")
        for attempt in range(len(PAUSES_S) + 1):
            self.retries += attempt > 0
            try:
                return _content(self._post(body, end))
            except _AgainError as failure:
                error = failure.error
            if attempt == len(PAUSES_S) or self._now() + PAUSES_S[attempt] >= end:
                break
            self._sleep(PAUSES_S[attempt])
        raise error

    def _body(
        self, images: Sequence[np.ndarray], text: str, schema: dict[str, Any]
    ) -> dict[str, Any]:
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images
        ]
        content.append({"type": "text", "text": text})
        named = {"name": "answers", "strict": True, "schema": schema}
        return {
            "model": self._config.model,
            "messages": [{"role": "user", "content": content}],
            "response_format": {"type": "json_schema", "json_schema": named},
            "max_tokens": self._config.max_tokens,
            "temperature": 0.0,
        }

    def _post(self, body: dict[str, Any], end: float) -> bytes:
        http, url = self._http, f"{self._config.url.rstrip('/')}/chat/completions"
        exchange = asyncio.wait_for(self._exchange(url, body), max(0.001, end - self._now()))
        try:
            status, answer = self._loop.run_until_complete(exchange)
        except asyncio.TimeoutError as error:
            raise EndpointError("slow", f"no answer in {self._config.deadline_s} s") from error
        except http.TransportError as error:
            raise _AgainError(EndpointError("unreachable", f"{url}: {error}")) from error
        except http.RequestError as error:  # what came can not be decoded
            raise EndpointError("malformed", f"{url}: {error}") from error
        if status in AGAIN:
            raise _AgainError(EndpointError("refused", f"{url} answers {status}"))
        if status != 200:
            raise EndpointError("refused", f"{url} answers {status}")
        return answer

    async def _exchange(self, url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of the answer."""
        answer = bytearray()
        # No time-out of the client's own: it holds for one socket operation, not for all together.
        async with (
            self._http.AsyncClient(headers=self._headers, verify=self._tls, timeout=None) as client,
            client.stream("POST", url, json=body) as response,
        ):
            async for part in response.aiter_bytes():
                answer += part
                if len(answer) > MAX_ANSWER_BYTES:
                    raise EndpointError("malformed", f"more than {MAX_ANSWER_BYTES} bytes")
        return response.status_code, bytes(answer)


class _AgainError(Exception):
    """A failure after which another attempt is worth its time."""

    def __init__(self, error: EndpointError) -> None:
        super().__init__(str(error))
        self.error = error


def _content(answer: bytes) -> str:
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise EndpointError("malformed", "not a chat completion") from error
    if not isinstance(content, str):
        raise EndpointError("malformed", "the completion holds no text")
    return content


def _data_url(image: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
