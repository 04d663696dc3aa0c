"""launch/deploy: every script, unit and image, as far as a machine without a GPU can tell."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

from dualsys.config import load
from dualsys.schemas import COMMANDS
from dualsys.supervisor.table import of_config
from tests.scripts import ROOT

DEPLOY = ROOT / "launch/deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CALLS = {
    "one_machine.sh driving/merge seeds=0:3": 2,
    "workstation.sh KEYS system2.device=cpu": 2,
    "robot.sh workstation KEYS driving/merge supervisor=robot": 2,
    "cluster.sh head": 1,
    "cluster.sh worker first": 1,
    "cluster.sh bench first OUT table=ablation suite=mt10": 1,
    "cluster.sh stop": 1,
    "large_planner.sh MODEL KEYS system2.budget=full": 2,
}


def shown(call: str) -> list[list[str]]:
    """The commands that a script would carry out."""
    script, *words = shlex.split(call)
    command = ["bash", str(DEPLOY / script), "--check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def composes(words: list[str]) -> None:
    """Whether these words of `dualsys` are valid."""
    command, *overrides = words
    if command in ("serve", "train"):
        command, overrides = f"{command} {overrides[0]}", overrides[1:]
    assert command in COMMANDS
    load(command, overrides)


@pytest.mark.parametrize("call", CALLS)
def test_every_command_of_a_script_is_valid(call: str) -> None:
    steps = shown(call)
    assert len(steps) == CALLS[call]
    for program, *words in steps:
        assert program in ("dualsys", "ray", "vllm")
        if program == "dualsys":
            composes(words)


def test_every_command_of_the_page_is_valid() -> None:
    """Those of the scripts, and those in a container; the others are looked at in test_docs."""
    page = (ROOT / "docs/deployment.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    scripts = [words for words in lines if words[0].startswith("launch/deploy/")]
    names = {path.name for path in SCRIPTS} - {"steps.sh"}
    assert {Path(words[0]).name for words in scripts} == names
    for script, *words in scripts:
        for program, *rest in shown(shlex.join([Path(script).name, *words])):
            if program == "dualsys":
                composes(rest)
    contained = [words for words in lines if words[:2] == ["podman", "run"]]
    assert contained
    for words in contained:
        composes(words[words.index("dualsys") + 1 :])


@pytest.mark.parametrize(
    "script", ["one_machine", "workstation", "robot", "cluster", "large_planner"]
)
def test_a_script_without_words_says_how_it_is_used(script: str) -> None:
    done = subprocess.run(
        ["bash", str(DEPLOY / f"{script}.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{script}.sh [--check]" in done.stderr
    assert "set -euo" not in done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    tool = Path(sys.executable).parent / "shellcheck"
    if not tool.is_file():
        pytest.skip("shellcheck is not installed here (the extra dev brings it)")
    command = [str(tool), "--external-sources", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_rays_flags_are_those_of_the_installed_one() -> None:
    ray = Path(sys.executable).parent / "ray"
    if not ray.is_file():
        pytest.skip("Ray is not installed here (the extra cluster brings it)")
    for call in ("cluster.sh head", "cluster.sh worker first"):
        ((_, command, *words),) = shown(call)
        done = subprocess.run(
            [str(ray), command, "--help"], capture_output=True, text=True, check=True
        )
        for word in words:
            assert re.search(rf"{word.partition('=')[0]}\b", done.stdout), word


def test_vllms_flags_are_those_of_the_noted_version() -> None:
    noted = (DEPLOY / "vllm-flags.txt").read_text()
    known = {line for line in noted.splitlines() if line.startswith("--")}
    assert re.search(r"vLLM \d+\.\d+\.\d+", noted)
    (vllm, serve) = shown("large_planner.sh MODEL KEYS")
    used = {word for word in vllm if word.startswith("--")}
    assert used == known
    assert vllm[vllm.index("--host") + 1] == "127.0.0.1", "its key guards a part of it only"
    told = dict(word.split("=", 1) for word in serve if "=" in word)
    port, name = (vllm[vllm.index(flag) + 1] for flag in ("--port", "--served-model-name"))
    assert told["system2.url"] == f"http://127.0.0.1:{port}/v1"
    assert told["system2.model"] == name
    if shutil.which("vllm"):
        done = subprocess.run(
            ["vllm", "serve", "--help=all"], capture_output=True, text=True, check=True
        )
        assert all(flag in done.stdout for flag in known)


def section(unit: Path, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=True)  # a key that is there twice is refused
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return dict(parser[name])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_watched_restarted_and_ended_in_order(unit: Path) -> None:
    service = section(unit, "Service")
    assert service["Type"] == "notify"
    assert float(service["WatchdogSec"]) > 1
    assert service["Restart"] in ("on-failure", "always")
    assert service["User"] == "dualsys"
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    table = of_config(load("run", ["scenario=driving/merge"])["supervisor"])
    # All but the recorder are given this long, then the recorder is.
    assert float(service["TimeoutStopSec"]) > 2 * table.stop_s
    assert section(unit, "Install")["WantedBy"] == "multi-user.target"


@pytest.mark.parametrize(
    ("unit", "env"), [("dualsys-robot", "robot"), ("dualsys-system2", "system2")]
)
def test_the_words_of_a_unit_are_valid(unit: str, env: str) -> None:
    text = (DEPLOY / f"systemd/{env}.env").read_text()
    (words,) = re.findall(r'^DUALSYS_WORDS="(.*)"$', text, re.MULTILINE)
    service = section(DEPLOY / f"systemd/{unit}.service", "Service")
    assert service["EnvironmentFile"] == f"/etc/dualsys/{env}.env"
    start = service["ExecStart"].replace("$DUALSYS_WORDS", words).replace("${INVOCATION_ID}", "1")
    program, *rest = start.split()
    assert program == "/opt/dualsys/.venv/bin/dualsys"
    composes(rest)


def test_the_robots_unit_allows_what_its_table_asks_for() -> None:
    service = section(DEPLOY / "systemd/dualsys-robot.service", "Service")
    table = of_config(load("run", ["scenario=driving/merge", "supervisor=robot"])["supervisor"])
    rows = table.processes
    assert int(service["LimitRTPRIO"]) >= max(row.priority for row in rows.values())
    assert service["LimitMEMLOCK"] == "infinity"
    assert any(row.lock_memory for row in rows.values())
    loop = {core for name in ("world", "system1") for core in rows[name].cores}
    others = {core for name in ("system2", "recorder") for core in rows[name].cores}
    assert loop.isdisjoint(others), "the control loop shares its cores with nobody"
    assert rows["world"].restart == "never"
    assert rows["system2"].run_if == "planner"


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed here")
    for unit in UNITS:  # with a program that is there
        text = re.sub(r"/opt/dualsys/\.venv/bin/dualsys", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    names = [str(tmp_path / unit.name) for unit in UNITS]
    command = ["systemd-analyze", "verify", "--man=no", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    about_ours = [line for line in done.stderr.splitlines() if "dualsys" in line]
    assert (done.returncode, about_ours) == (0, [])


def test_the_image_has_what_it_copies_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    steps = [line.split(None, 1) for line in text.splitlines() if line and line[0] != "#"]
    copied = [
        words.split()[:-1] for step, words in steps if step == "COPY" and "--from" not in words
    ]
    for source in (name for names in copied for name in names):
        assert (ROOT / source).exists(), source
        if source != "constraints.txt":
            assert f"!{source}" in (DEPLOY / "Containerfile.dockerignore").read_text()
    users = [words for step, words in steps if step == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    entry = max(i for i, (step, _) in enumerate(steps) if step == "ENTRYPOINT")
    assert any(step == "USER" for step, _ in steps[:entry])
    (extras,) = re.findall(r"ARG EXTRAS=(\S+)", text)
    assert set(extras.split(",")) <= set(metadata("dualsys").get_all("Provides-Extra") or [])
    setup = (ROOT / "launch/setup.sh").read_text()
    (needed,) = re.findall(r'gl_packages="(.*)"', setup)
    assert set(needed.split()) <= set(text.split()), "what setup.sh installs for rendering"
    assert re.search(r"^torch==[\d.]+\+cpu$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_a_builder_accepts_the_image() -> None:
    """It is looked at and not built: that would fetch gigabytes."""
    if not shutil.which("docker"):
        pytest.skip("docker is not installed here, and podman can not check without building")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("docker is installed here, and its service does not run")
    command = ["docker", "build", "--check", "-f", str(DEPLOY / "Containerfile"), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
