"""The control path alone: an observation with a 200 KiB image out, its action back.

Ours (PUB/SUB over ipc between two processes) beside the two ways in common use, in one run and
interleaved, so that what the machine does to one it does to all: gRPC with pickle, and websockets
with msgpack, both on loopback. No network computation on either side.

    python launch/link_bench.py --rounds 3000 --out docs/results/link.json
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import pickle  # noqa: TID251  the peer's way, timed here and used nowhere else
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import msgpack
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from websockets.asyncio.server import serve as websocket_serve
from websockets.sync.client import connect as websocket_connect

from dualsys.bus import Publisher, Subscriber, ipc
from dualsys.clock import MonotonicClock, StallDetector
from dualsys.messages import Action, Observation, Stamp
from dualsys.runtime.results import git_state, machine, percentiles_ms, versions

IMAGE = (256, 267, 3)  # 200 KiB
METHOD = "/dualsys.Bench/Act"
COMMANDS = np.zeros((16, 4), np.float32)
Round = Callable[[int], None]


def observation(tick: int) -> Observation:
    """A message as a world sends it."""
    image = np.full(IMAGE, tick % 256, np.uint8)
    state = np.zeros(8, np.float32)
    stamp = Stamp(1, 0, tick, tick, time.monotonic_ns())
    return Observation(stamp, {"front": image}, {"front": tick}, state, state[None], "")


def ours_server(folder: Path, ready: Connection) -> None:
    """Answers every observation with an action."""
    with (
        Publisher(ipc(folder, "action")) as actions,
        Subscriber(ipc(folder, "observation")) as observations,
    ):
        ready.send(True)
        while True:
            observations.poll(1000)
            seen = observations.newest()
            if isinstance(seen, Observation):
                tick = seen.stamp.tick
                actions.send(
                    Action(seen.stamp, tick, COMMANDS, seen.stamp.time_ns, 0.0, tick, -1, -1, 0)
                )


def grpc_server(ready: Connection) -> None:
    """A generic unary method whose payloads are pickles."""

    def act(request: bytes, context: Any) -> bytes:
        seen = pickle.loads(request)  # noqa: S301
        return pickle.dumps({"tick": seen["tick"], "commands": COMMANDS})

    handler = grpc.method_handlers_generic_handler(
        "dualsys.Bench", {"Act": grpc.unary_unary_rpc_method_handler(act)}
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ready.send(port)
    server.wait_for_termination()


def websocket_server(ready: Connection) -> None:
    """Msgpack dictionaries with raw array bytes, as openpi's server speaks."""

    async def answer(socket: Any) -> None:
        async for frame in socket:
            seen = msgpack.unpackb(frame)
            np.frombuffer(seen["image"], np.uint8).reshape(IMAGE)
            await socket.send(msgpack.packb({"tick": seen["tick"], "commands": COMMANDS.tobytes()}))

    async def run() -> None:
        async with websocket_serve(answer, "127.0.0.1", 0, max_size=None, compression=None) as s:
            ready.send(s.sockets[0].getsockname()[1])
            await asyncio.get_running_loop().create_future()

    asyncio.run(run())


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Run `target` in a process of its own; returns what it reports when it is ready."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=target, args=(*arguments, there), daemon=True
    )
    process.start()
    return here.recv()


def ours_round(folder: Path) -> Round:
    """One observation published, its action received."""
    start(ours_server, folder)
    publisher = Publisher(ipc(folder, "observation"))
    subscriber = Subscriber(ipc(folder, "action"))

    def go(tick: int) -> None:
        publisher.send(observation(tick))
        while True:
            if not subscriber.poll(1000):
                publisher.send(observation(tick))  # before the subscription is known
            seen = subscriber.newest()
            if isinstance(seen, Action) and seen.stamp.tick == tick:
                return

    return go


def grpc_round() -> Round:
    """One unary call."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    channel = grpc.insecure_channel(f"127.0.0.1:{start(grpc_server)}", unlimited)
    call = channel.unary_unary(METHOD)

    def go(tick: int) -> None:
        message = observation(tick)
        image = message.images["front"]
        request = pickle.dumps({"tick": tick, "image": image, "state": message.state})
        answer = pickle.loads(call(request))  # noqa: S301
        assert answer["tick"] == tick

    return go


def websocket_round(stack: ExitStack) -> Round:
    """One frame out, one back."""
    url = f"ws://127.0.0.1:{start(websocket_server)}"
    socket = stack.enter_context(websocket_connect(url, max_size=None, compression=None))

    def go(tick: int) -> None:
        message = observation(tick)
        image, state = message.images["front"].tobytes(), message.state.tobytes()
        socket.send(msgpack.packb({"tick": tick, "image": image, "state": state}))
        assert msgpack.unpackb(socket.recv())["tick"] == tick

    return go


def main() -> None:
    """Time the three, interleaved, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("docs/results/link.json"))
    arguments = parser.parse_args()
    stalls = StallDetector(MonotonicClock())
    with tempfile.TemporaryDirectory(prefix="dualsys-") as folder, ExitStack() as stack:
        rounds = {
            "dualsys (ZeroMQ ipc)": ours_round(Path(folder)),
            "gRPC + pickle": grpc_round(),
            "websocket + msgpack": websocket_round(stack),
        }
        times: dict[str, list[int]] = {name: [] for name in rounds}
        for tick in range(1, 101):  # warm-up, discarded
            for go in rounds.values():
                go(tick)
        stalls.start()
        for tick in range(101, 101 + arguments.rounds):
            for name, go in rounds.items():
                begin = time.perf_counter_ns()
                go(tick)
                times[name].append(time.perf_counter_ns() - begin)
    gaps = stalls.stop()
    result = {
        "what": "observation with a 200 KiB image out, action back, two processes",
        "rounds": arguments.rounds,
        "round_trip": {name: percentiles_ms(values) for name, values in times.items()},
        "stalls": {
            "count": len(gaps),
            "longest_ms": max((b - a for a, b in gaps), default=0) / 1e6,
        },
        "versions": {**versions(), "grpcio": grpc.__version__},
        "machine": machine(),
        "git": git_state(),
        "command": f"python launch/link_bench.py --rounds {arguments.rounds}",
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    table = Table(title=f"{result['what']} [ms], machine stalls {len(gaps)}")
    for column in ("link", "p50", "p99", "p99.9", "max"):
        table.add_column(column, justify="left" if column == "link" else "right")
    for name, values in times.items():
        table.add_row(name, *(f"{value:.3f}" for value in percentiles_ms(values).values()))
    Console().print(table)


if __name__ == "__main__":
    main()
