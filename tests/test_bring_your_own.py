"""The tutorials, followed by the letter: packages installed, commands run, each cut short."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys import cli
from dualsys.messages import Command
from dualsys.runtime.log import read_log
from sim import registry
from tests.own_packages import DOCS, files_of, install, scripts_of

PAGES = [f"bring_your_own_{name}" for name in ("policy", "planner", "environment", "robot")]
SHORT = {
    "eval": ["seeds=0:1", "runtime.episode_s=2"],
    "run": ["runtime.duration_s=3"],
    "bench": ["seeds=0:1", "runtime.episode_s=2", "workers=1"],
    "build": ["engine.names=[onnxruntime]"],
    "collect": ["workers=1"],
    "train": ["steps=2", "batch_size=4"],
    "replay": [],
    "thoughts": [],
}


def run(words: str | list[str], *more: str) -> None:
    """A command of the terminal, in this process."""
    given = shlex.split(words) if isinstance(words, str) else words
    with pytest.raises(SystemExit) as ended:
        cli.main([*given, *more])
    assert ended.value.code == 0, given


def commands_of(page: str) -> list[list[str]]:
    """The words of a tutorial's commands, in order."""
    lines = (DOCS / f"{page}.md").read_text().splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("dualsys ")]


def follow(page: str, wanted: Callable[[list[str]], bool]) -> list[str]:
    """Run the commands of a tutorial that are wanted, each cut short; those that ran."""
    ran = []
    for words in commands_of(page):
        if wanted(words):
            run(words, *SHORT[words[0]])
            ran.append(words[0])
    return ran


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """An empty folder in which a tutorial's package gets installed, for this process and others."""
    before = set(sys.modules)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    monkeypatch.chdir(tmp_path)
    root = str(Path(__file__).parent.parent)

    def prepare(page: str, *swapped: tuple[str, str]) -> Path:
        install(page, tmp_path, *swapped)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", f"{root}:{tmp_path}")
        return tmp_path

    yield prepare
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith("my_"):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES)
def test_everything_that_a_user_writes_has_under_50_lines(page: str) -> None:
    for name, content in files_of(page).items():
        lines = [line for line in content.splitlines() if line.strip()]
        assert len(lines) < 50, name
        assert max(map(len, lines)) <= 110, name


def scripts(page: str) -> None:
    for block in scripts_of(page):
        exec(compile(block, page, "exec"), {"__name__": "docs"})


def results(out: str) -> dict[str, Any]:
    return msgspec.json.decode((Path(out) / "results.json").read_bytes())


def test_a_policy_of_ones_own_drives_everywhere_the_shipped_one_does(
    lab: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lab("bring_your_own_policy")
    ran = follow("bring_your_own_policy", lambda w: w[0] != "run" and "onnx" not in str(w))
    assert ran == ["eval", "replay", "bench"]
    scripts("bring_your_own_policy")
    assert "trigger.threshold=" in capsys.readouterr().out
    found = results("runs/cruise")
    assert (found["engine"]["used"], found["engine"]["from"]) == ("cruise", "my-lab 0.1")
    assert found["calls"] == 2, "the trigger asks for it"
    assert found["guidance"]["ticks_alone"] < found["guidance"]["ticks"]
    assert msgspec.json.decode(Path("runs/compared/bench.json").read_bytes())["compared"]["mine"]


def test_an_onnx_file_drives_through_the_engines(lab: Callable[..., Path]) -> None:
    folder = lab("bring_your_own_policy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of its older exporter
        exec(compile((folder / "export.py").read_text(), "export", "exec"), {"__name__": "docs"})
    ran = follow("bring_your_own_policy", lambda words: "system1.driver=onnx" in words)
    assert ran == ["eval", "build"]
    found = results("runs/net")["engine"]
    assert found["used"] in ("openvino", "onnxruntime")
    assert "without optimisation (there is no torch module)" in found["checked_on"]
    asked = "trigger=uncertainty trigger.threshold=0.5 trigger.refractory_s=0.3"
    run(f"eval scenario=driving/merge system1.driver=onnx system1.checkpoint=net system2=scripted "
        f"{asked} out=runs/asked", *SHORT["eval"])  # fmt: skip
    assert results("runs/asked")["calls"] > 2


def test_both_systems_can_be_of_ones_own(
    lab: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """In virtual time with an entry point, on the wall clock beside a policy that is only tried."""
    lab("bring_your_own_policy")
    lab("bring_your_own_planner")
    scripts("bring_your_own_planner")
    for words in commands_of("bring_your_own_planner"):
        if "system2=own" in words:
            live = words[0] == "run"
            driver = ["system1.driver=my_lab/policies.py:Cruise"] if live else []
            run(words, *driver, *SHORT[words[0]])
    run("thoughts run=runs/own")
    assert "follow" in capsys.readouterr().out
    for out in ("runs/own", "runs/own-live"):
        found = results(out)
        assert found["system2"]["engine"]["from"] == "my-lab 0.1"
        assert found["calls"] >= 2
        assert found["guidance"]["ticks_alone"] < found["guidance"]["ticks"]
    assert found["engine"]["from"].startswith("my_lab/policies.py ")


def test_a_folder_of_transformers_plans_as_it_is(
    lab: Callable[..., Path], language_folder: Path
) -> None:
    (lab("bring_your_own_planner") / "models").mkdir()
    Path("models/some-vlm").symlink_to(language_folder)
    ran = follow("bring_your_own_planner", lambda words: "system2=language" in words)
    assert ran == ["eval"]
    found = results("runs/language")
    assert found["codes"]["messages"] == found["calls"] == 2
    assert found["system2"]["device"] == "cpu"


def shortened(words: list[str]) -> list[str]:
    """What cuts a command of the tutorial of an environment short: whole episodes, few of them."""
    first = next((word[6:].split(":")[0] for word in words if word.startswith("seeds=")), None)
    fewer = [] if first is None else [f"seeds={first}:{int(first) + 1 + (words[0] == 'collect')}"]
    kept = [word for word in SHORT[words[0]] if not word.startswith(("seeds", "runtime"))]
    return [*kept, *fewer]


@pytest.mark.rendering
def test_an_environment_comes_from_an_empty_folder_to_a_trained_system_1(
    lab: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lab("bring_your_own_environment")
    scripts("bring_your_own_environment")
    help_, *others = commands_of("bring_your_own_environment")
    run(help_)
    assert "my/reacher" in capsys.readouterr().out
    for words in others:
        run(words, *shortened(words))
    assert Path("runs/reacher-again/card.json").is_file()
    assert len(list(Path("runs/tried/videos").iterdir())) == 1
    assert results("runs/live")["episodes"][0]["completed"]


class Robot:
    """The tutorial's arm on a port of its own, and a run that drives it."""

    def __init__(self, folder: Path, port: int) -> None:
        from my_arm.toy import ToyArm

        self.folder, self.arm = folder, ToyArm(port)
        self.arm.start()

    def run(self, *words: str, meanwhile: Callable[[], None] = lambda: None) -> tuple[int, str]:
        """Exit code and what was said; `meanwhile` is done once the arm moves."""
        command = [sys.executable, "-m", "dualsys", "run", "scenario=my/arm", "runtime=realtime"]
        command += ["system1.driver=wave", "system2=scripted", "out=runs/arm", *words]
        with subprocess.Popen(
            command, cwd=self.folder, stderr=subprocess.PIPE, text=True
        ) as process:
            until = time.monotonic() + 60
            while not self.arm.rates.any() and process.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.01)
            meanwhile()
            said = process.communicate(timeout=60)[1]
        return process.returncode, said

    @property
    def last(self) -> Command:
        sent = [m for _, m in read_log(self.folder / "runs/arm/log.mcap") if isinstance(m, Command)]
        return sent[-1]


@pytest.fixture
def robot(lab: Callable[..., Path]) -> Iterator[Robot]:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Robot(lab("bring_your_own_robot", ("7411", str(port))), port)
    yield found
    found.arm.on = False
    found.arm.join()
    found.arm.link.close()


def test_a_robot_is_checked_driven_led_to_rest_and_outlives_nonsense(robot: Robot) -> None:
    from my_arm.driver import Arm

    from sim.contract import check_world

    check_world(Arm())
    assert not np.any(robot.arm.commands), "a check moves nothing"

    def nonsense() -> None:
        time.sleep(0.5)
        joints, robot.arm.joints = robot.arm.joints, np.full(2, np.nan)
        time.sleep(0.3)
        robot.arm.joints = joints

    code, said = robot.run("runtime.duration_s=3", meanwhile=nonsense)
    assert code == 0, said
    assert "state axes ['joint0', 'joint1']" in said
    found = msgspec.json.decode((robot.folder / "runs/arm/results.json").read_bytes())
    assert found["shield"]["state_unknown"] >= 10
    steps = np.diff([command for command in robot.arm.commands if command.any()], axis=0)
    assert np.abs(steps).max() < 8.0 / 50 + 1e-6, "the limits of the specification"
    assert not robot.arm.commands[-1].any(), "at rest, long before its own watchdog"
    assert not robot.last.command.any()
    assert robot.last.interventions == ("run_over",)


def test_a_driver_that_raises_leaves_the_fallback_behind_and_one_clear_line(robot: Robot) -> None:
    def silence() -> None:
        robot.arm.on = False  # it says nothing any more; what it is told is still of interest
        robot.arm.join()
        while data := _received(robot.arm.link):
            robot.arm.commands.append(np.frombuffer(data, "<f8"))

    code, said = robot.run("runtime.duration_s=60", meanwhile=silence)
    assert code == 2
    assert "step() of my/arm raised ConnectionError: the arm at ('127.0.0.1', " in said
    assert "the fallback goes out and the run is ended" in said
    assert "Traceback" not in said
    assert not robot.arm.commands[-1].any()
    assert robot.last.interventions == ("run_failed",)


def _received(link: socket.socket) -> bytes | None:
    link.settimeout(1.0)
    try:
        return link.recv(64)
    except TimeoutError:
        return None


HANGING = """\
        while __import__('pathlib').Path('hang').exists():
            __import__('time').sleep(9)
"""


def test_a_driver_that_hangs_is_left_behind_after_the_fallback(robot: Robot) -> None:
    driver, at = robot.folder / "my_arm/driver.py", "        if not self.stopped:\n"
    assert at in driver.read_text()
    driver.write_text(driver.read_text().replace(at, HANGING + at))
    code, said = robot.run("runtime.duration_s=60", meanwhile=(robot.folder / "hang").touch)
    assert code == 2
    assert "step() of my/arm hangs for 0.5 s (runtime.step_patience_s) in step, driver.py:" in said
    assert not robot.arm.commands[-1].any()


def test_a_robot_is_not_driven_in_virtual_time(
    lab: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lab("bring_your_own_robot")
    with pytest.raises(SystemExit) as ended:
        cli.main(["eval", "scenario=my/arm", "system1.driver=wave", "system2=none", "out=no"])
    assert ended.value.code == 2
    assert "moves by itself, virtual time does not hold it" in " ".join(
        capsys.readouterr().err.split()
    )
