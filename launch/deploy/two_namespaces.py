"""Two network namespaces stand for two machines: `python launch/deploy/two_namespaces.py --out F`.

System 2 serves in one, a realtime run drives in the other, over a wire with delay and loss each
way (`dualsys.bench.wire`); in the middle the wire is cut. What came of it is read off the log:
ticks that System 1 missed, how old the guidance became, how long until it was fresh again. Needs
root. Exits with 1 when anything is amiss.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from dualsys.bench.parted import Parting, parting
from dualsys.bench.wire import WORKSTATION, Cable, Wire, two_machines
from dualsys.console import table_console
from dualsys.errors import DualsysError
from dualsys.faults.fault import BEGUN
from dualsys.keys import make_keys
from dualsys.runtime.log import read_log
from dualsys.runtime.results import git_state, machine, versions
from dualsys.supervisor.supervisor import terminable

PORT = 7300
LOADS_S = 300.0  # until a run has had its first tick
AGAIN = 3.0  # a wait of this many cuts after the cut, for the way back


def dualsys(namespace: str, temporary: Path, *words: str) -> subprocess.Popen[bytes]:
    """A command of dualsys on one of the two machines, with its private files in `temporary`."""
    temporary.mkdir(exist_ok=True)
    where = ["ip", "netns", "exec", namespace, "env", f"TMPDIR={temporary}"]
    return subprocess.Popen([*where, sys.executable, "-m", "dualsys", *words])


@contextmanager
def served(namespace: str, folder: Path, planner: str) -> Iterator[None]:
    """System 2 on the workstation, until the block ends."""
    words = [f"system2={planner}", f"link.bind=tcp://*:{PORT}", f"link.server_keys={folder}/keys"]
    service = dualsys(namespace, folder / "w", "serve", "system2", *words)
    try:
        yield
    finally:
        service.terminate()
        service.wait()


def first_tick_ns(temporary: Path, run: subprocess.Popen[bytes]) -> int:
    """Wait for a run's first tick, and say when it was."""
    until = time.monotonic() + LOADS_S
    while time.monotonic() < until and run.poll() is None:
        for begun in temporary.glob(f"dualsys-*/{BEGUN}"):
            return int(begun.read_text())
        time.sleep(0.05)
    raise DualsysError("the run had no first tick; see the messages above")


def cut(wire: Wire, begin_ns: int, lasts_s: float) -> tuple[int, int]:
    """Cut the wire at a time, for so long; returns when it was cut and mended."""
    time.sleep(max(0.0, (begin_ns - time.monotonic_ns()) / 1e9))
    at_ns, wire.cable.cut = time.monotonic_ns(), True
    time.sleep(lasts_s)
    wire.cable.cut = False
    return at_ns, time.monotonic_ns()


def tried(options: argparse.Namespace, folder: Path) -> tuple[Parting, dict[str, Any]]:
    """One run on two machines; what came of the cut, and the run's results."""
    make_keys(folder / "keys", ["robot"])
    cable = Cable(round(options.delay_ms * 1e6), options.loss, np.random.default_rng(options.seed))
    words = ["runtime=realtime", "system2=served", f"scenario={options.scenario}"]
    words += [f"link.requests=tcp://{WORKSTATION}:{PORT}", "seeds=0:100"]
    words += [f"link.client_keys={folder}/keys/clients/robot", f"out={folder}/run"]
    words += [f"runtime.duration_s={options.duration_s}", *options.words]
    middle_ns = round((options.duration_s - options.cut_s) / 2 * 1e9)
    with two_machines(cable) as (robot, workstation, wire):
        with served(workstation, folder, options.planner):
            run = dualsys(robot, folder / "r", "run", *words)
            try:
                begun_ns = first_tick_ns(folder / "r", run)
                cut_ns = cut(wire, begun_ns + middle_ns, options.cut_s)
            finally:
                if sys.exc_info()[0] is not None:
                    run.terminate()
                ended = run.wait()
        if ended != 0:
            raise DualsysError(f"the run ended with {ended}; see the messages above")
    return judged(folder / "run", cut_ns, cable)


def judged(run: Path, cut_ns: tuple[int, int], cable: Cable) -> tuple[Parting, dict[str, Any]]:
    """What a run's log says of a cut of its link."""
    from sim import registry

    results = json.loads((run / "results.json").read_text())
    log = [message for _, message in read_log(run / "log.mcap")]
    spec = registry.spec_of(results["scenario"])
    told = {name: results[name] for name in ("link", "config", "guidance", "ticks", "processes")}
    told |= {"wire": {"carried": cable.carried, "lost": cable.lost}}
    bare = json.loads(json.dumps(told).replace(str(run.parent), "."))  # it is gone afterwards
    return parting(log, cut_ns, results["ticks"], spec), bare


def show(found: Parting, told: dict[str, Any], console: Console) -> None:
    """Print what came of it."""
    table = Table(title="the link is cut from {:.1f} to {:.1f} s".format(*found.cut_s))
    for name in ("", "answers", "oldest guidance s", "rungs (ticks)"):
        table.add_column(name, justify="right")
    for name in ("before", "during", "after"):
        rungs = ", ".join(f"{rung} {n}" for rung, n in found.rungs[name].items())
        table.add_row(name, str(found.answers[name]), f"{found.oldest_s[name]:.2f}", rungs)
    console.print(table)
    trip = told["link"]["round_trip"]
    after = [found.heard_after_s, found.fresh_after_s]
    first, fresh = ("never" if s is None else f"{s:.2f} s" for s in after)
    console.print(
        f"round trip p50 {trip['p50_ms']:.1f} ms, p99 {trip['p99_ms']:.1f} ms; packets lost "
        f"{told['wire']['lost']}, carried {told['wire']['carried']}\n"
        f"after the cut: first answer {first}, fresh {fresh}\n"
        f"ticks {found.ticks}, missed by System 1 {found.missed} (and {found.missed_in_stalls} in "
        f"{found.stalls} stalls of the machine)\n"
        f"{'; '.join(found.amiss) or 'as it should be'}",
        highlight=False,
    )


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/two-machines.json"))
    parser.add_argument("--scenario", default="driving/highway")
    parser.add_argument("--planner", default="vlm", help="system2= of the workstation")
    parser.add_argument("--duration-s", type=float, default=30.0)
    parser.add_argument("--cut-s", type=float, default=3.0)
    parser.add_argument("--delay-ms", type=float, default=20.0, help="each way")
    parser.add_argument("--loss", type=float, default=0.02, help="share of packets, each way")
    parser.add_argument("--seed", type=int, default=0, help="of the packets that are lost")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("words", nargs="*", help="overrides of `dualsys run`")
    options = parser.parse_args()
    if options.duration_s < (1 + AGAIN) * options.cut_s:
        parser.error(f"--duration-s has to be {1 + AGAIN:g} times --cut-s at least")
    git, rounds, console = git_state(), list[dict[str, Any]](), table_console()
    try:
        with terminable():
            for number in range(options.rounds):
                options.seed += number > 0
                with tempfile.TemporaryDirectory(prefix="two-") as folder:
                    found, told = tried(options, Path(folder))
                show(found, told, console)
                rounds.append({**msgspec.to_builtins(found), "amiss": list(found.amiss), **told})
    except DualsysError as error:
        parser.exit(2, f"two_namespaces: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "two_namespaces: interrupted; both machines are gone\n")
    given = {k: v for k, v in vars(options).items() if k != "out"}
    report = {"rounds": rounds, "conditions": given, "versions": versions(), "git": git}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**report, "machine": machine()}, indent=1))
    sys.exit(1 if any(row["amiss"] for row in rounds) else 0)


if __name__ == "__main__":
    main()
