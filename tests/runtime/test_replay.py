"""A log through one system alone: the same answers, to the last bit or nearly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.cli import main
from dualsys.errors import DualsysError
from dualsys.messages import Action, Guidance, Observation
from dualsys.runtime.log import LogWriter, frames_of, read_header, read_log
from dualsys.runtime.replay import replay

COMMITTED = Path(__file__).parent.parent / "data/replay-merge.mcap"
"""Four seconds of driving/merge with the shipped weights: made by
`dualsys eval scenario=driving/merge seeds=3:4 runtime.episode_s=4 trigger.period_s=0.5`."""
NEARLY = 1e-3  # of a command's range: what processors and engines may differ by


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in virtual time, made here: on this processor, with these libraries."""
    out = tmp_path_factory.mktemp("driven")
    words = ["scenario=driving/merge", "seeds=0:2", "runtime.episode_s=3", "trigger.period_s=0.5"]
    with pytest.raises(SystemExit) as ended:
        main(["eval", *words, f"out={out}"])
    assert ended.value.code == 0
    return out / "log.mcap"


@pytest.mark.rendering
@pytest.mark.parametrize(("system", "answers"), [(1, 80), (2, 8)])
def test_a_run_made_here_gives_the_same_bits(driven: Path, system: int, answers: int) -> None:
    found = replay(driven, system, 0.0, [])
    assert found.answers >= answers
    assert (found.equal, found.beyond, found.furthest) == (found.answers, 0, 0.0)


@pytest.mark.parametrize("system", [1, 2])
def test_the_committed_log_gives_nearly_the_same_answers(system: int) -> None:
    """A change of either system, or of its weights, shows here first."""
    found = replay(COMMITTED, system, NEARLY, [])
    assert found.answers >= 8
    assert found.beyond == 0, found


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_every_engine_gives_nearly_the_same_answers(engine: str) -> None:
    found = replay(COMMITTED, 1, NEARLY, [engine])
    assert found.beyond == 0, found


def changed(log: Path, out: Path, change: Any) -> Path:
    """The log with its messages changed."""
    with LogWriter(out, read_header(log)) as written:
        for topic, message in read_log(log):
            written.write(topic, change(message))
    return out


def test_an_answer_that_differs_is_found_with_its_place(tmp_path: Path) -> None:
    def moved(message: Any) -> Any:
        if isinstance(message, Action) and message.stamp.tick == 20:
            away = message.commands + np.float32([0.5, 0.0])
            return msgspec.structs.replace(message, commands=away)
        return message

    def misled(message: Any) -> Any:
        if isinstance(message, Guidance) and message.final:
            return msgspec.structs.replace(message, plan=(message.plan + 1) % 5)
        return message

    found = replay(changed(COMMITTED, tmp_path / "moved.mcap", moved), 1, NEARLY, [])
    assert found.beyond == 1
    assert found.first == (0, 20, "commands")
    assert found.furthest == pytest.approx(0.05, abs=0.001)
    told = replay(changed(COMMITTED, tmp_path / "misled.mcap", misled), 2, NEARLY, [])
    assert told.beyond > 0
    assert told.first is not None
    assert told.first[2] == "plan"


def test_an_observation_that_was_worth_nothing_is_coasted_over_as_in_the_run(
    tmp_path: Path,
) -> None:
    """Its answer in the log is another one; but the replay goes on, and is right again later."""

    def change(message: Any) -> Any:
        if isinstance(message, Observation) and message.stamp.tick == 21:
            return msgspec.structs.replace(message, images={})
        return message

    found = replay(changed(COMMITTED, tmp_path / "log.mcap", change), 1, NEARLY, [])
    assert found.beyond >= 1
    assert found.first is not None
    assert found.first[1] == 21


def test_what_can_not_be_replayed_says_why(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mcap"
    with LogWriter(empty, {"config": {}}):
        pass
    with pytest.raises(DualsysError, match="holds no configuration of a run"):
        replay(empty, 1, 0.0, [])
    with pytest.raises(DualsysError, match="system=3: there are 1 and 2"):
        replay(COMMITTED, 3, 0.0, [])
    header = read_header(COMMITTED)
    bare = tmp_path / "bare.mcap"
    with LogWriter(bare, header):
        pass
    with pytest.raises(DualsysError, match="holds no answer of System 1"):
        replay(bare, 1, 0.0, [])
    foreign = tmp_path / "foreign.mcap"
    with LogWriter(foreign, header) as log:
        for topic, frame, time_ns in frames_of(COMMITTED):
            log.write_frame(topic, frame[:2] + b"\x63\x00" + frame[4:], time_ns)
    with pytest.raises(DualsysError, match="protocol version 99, this side version 1"):
        replay(foreign, 1, 0.0, [])


def test_the_command_tells_and_exits_by_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code, told in (
        (["tolerance=0.001"], 0, "0 further than 0.001"),
        (["tolerance=-1"], 2, "tolerance can be 0 or more, it is -1"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["replay", str(COMMITTED), *words, f"out={tmp_path / 'found.json'}"])
        assert ended.value.code == code
        captured = capsys.readouterr()
        assert told in " ".join((captured.out + captured.err).split())
    assert msgspec.json.decode((tmp_path / "found.json").read_bytes())["answers"] > 50
