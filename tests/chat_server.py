"""A small OpenAI-compatible chat server that answers as it is told, well or badly."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

GOOD = {
    "hazard": {"where": "ahead", "motion": "closing"},
    "plan": {"plan": "yield"},
}


def completion(content: Any) -> bytes:
    text = content if isinstance(content, str) else json.dumps(content)
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


class Late(NamedTuple):
    """An answer that takes its time."""

    seconds: float
    answer: bytes


class Server(ThreadingHTTPServer):
    """Answers as `script` says, one entry per request; the last one is repeated.

    An entry is a body, or a status, a body and headers, or one of these late. `patient` counts the
    trickles that were listened to for ten seconds.
    """

    daemon_threads = True

    def __init__(self, script: list[Any]) -> None:
        self.script, self.asked, self.patient = script, [], 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    asked: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = len(self.server.asked)
        self.server.asked.append({"path": self.path, "headers": dict(self.headers), **body})
        step = self.server.script[min(number, len(self.server.script) - 1)]
        if step == "sleep":
            time.sleep(1.0)
            return
        if isinstance(step, Late):
            time.sleep(step.seconds)
            step = step.answer
        status, answer, *headers = step if isinstance(step, tuple) else (200, step)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if answer == b"trickling headers":
            self.flush_headers()
            return self.trickle(b"X-Wait: yes\r\n")
        self.end_headers()
        if answer == b"trickle":
            return self.trickle(b" ")
        self.wfile.write(answer)

    def trickle(self, part: bytes) -> None:
        for _ in range(200):
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(0.05)
        self.server.patient += 1

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client hung up: it may
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
