"""The remote planner against a small server of our own, over a real socket."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from dualsys.bench.evaluate import evaluate
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.endpoint import PAUSES_S, ChatEndpoint, EndpointConfig
from dualsys.system2.questions import asked
from dualsys.system2.remote import RemotePlanner, read_answers, schema_of
from dualsys.system2.thinking import ThinkConfig
from sim.driving.spec import SPEC
from tests.chat_server import GOOD, completion
from tests.system2.test_vision import request


def planner(url: str, local: Any = None, deadline_s: float = 0.6, key: str = "") -> RemotePlanner:
    endpoint = ChatEndpoint(EndpointConfig(url, "some-model", deadline_s), key)
    return RemotePlanner(SPEC, endpoint, local, ThinkConfig())


def test_the_answer_becomes_guidance_and_the_request_shows_what_was_seen(serve: Any) -> None:
    server = serve(completion(GOOD))
    thinker = planner(server.url, key="sesame")
    wanted = request(3)
    (said,) = thinker.think(wanted, "short")
    assert SPEC.plans[said.plan] == "yield"
    assert said.request_id == wanted.request_id
    assert said.final
    assert not thinker.faults
    (asked_,) = server.asked
    assert asked_["path"] == "/v1/chat/completions"
    assert asked_["headers"]["Authorization"] == "Bearer sesame"
    picture, text = asked_["messages"][0]["content"]
    data = base64.b64decode(picture["image_url"]["url"].split(",")[1])
    seen = np.asarray(Image.open(io.BytesIO(data)))
    assert thinker.thought is not None
    np.testing.assert_array_equal(seen, thinker.thought.images["topdown"])
    assert (seen != wanted.observation.images["topdown"]).any(), "with visual prompts"
    assert "drive on along the highway" in text["text"]
    schema = asked_["response_format"]["json_schema"]["schema"]
    assert schema == schema_of(asked(SPEC, "short"))
    assert schema["properties"]["plan"]["properties"]["plan"]["enum"] == list(SPEC.plans)


def test_local_heads_propose_under_the_remote_plan(serve: Any, planner_folder: Path) -> None:
    local = checkpoints.load(planner_folder, SPEC)
    thinker = planner(serve(completion(GOOD)).url, local)
    (said,) = thinker.think(request(3), "short")
    assert SPEC.plans[said.plan] == "yield"
    assert said.candidate.shape == (16, 2)
    assert said.z.shape == (8,)
    assert thinker.thought is not None
    assert len(thinker.thought.values) == 5


def test_local_heads_are_asked_for_what_they_have_only(planner_folder: Path) -> None:
    local = checkpoints.load(planner_folder, SPEC)
    untrained = msgspec.structs.replace(
        local, card=msgspec.structs.replace(local.card, training={})
    )
    endpoint = ChatEndpoint(EndpointConfig("http://127.0.0.1:9/v1", "some-model"))
    with pytest.raises(DualsysError, match="train value"):
        RemotePlanner(SPEC, endpoint, untrained, ThinkConfig())
    with pytest.raises(DualsysError, match="11 candidates do not fit"):
        RemotePlanner(SPEC, endpoint, local, ThinkConfig(candidates=11))
    RemotePlanner(SPEC, endpoint, None, ThinkConfig())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (["sleep"], "slow"),
        ([b"trickle"], "slow"),
        ([b"trickling headers"], "slow"),
        ([(404, b"{}")], "refused"),
        ([(503, b"{}")], "refused"),
        ([b"<html>"], "malformed"),
        ([completion("I would turn left.")], "malformed"),
        ([completion({**GOOD, "plan": {"plan": "fly"}})], "malformed"),
        ([completion({"plan": {"plan": "yield"}})], "malformed"),
        ([b'{"choices": []}'], "malformed"),
        ([completion("x" * (2 << 20))], "malformed"),
        ([(200, completion(GOOD), ("Content-Encoding", "gzip"))], "malformed"),
        ([b"[" * 200_000], "malformed"),
        ([completion("[" * 200_000)], "malformed"),
    ],
)
def test_what_is_no_answer_is_no_guidance_and_counted(
    serve: Any, script: list[Any], reason: str
) -> None:
    server = serve(*script)
    thinker = planner(server.url)
    assert list(thinker.think(request(1), "short")) == []
    assert thinker.faults == {reason: 1}
    assert thinker.thought is None
    assert not server.patient, "the deadline ends the whole request"


def test_an_endpoint_that_is_down_is_counted(serve: Any) -> None:
    server = serve()
    url = server.url
    server.shutdown()
    server.server_close()
    thinker = planner(url)
    assert list(thinker.think(request(1), "short")) == []
    assert thinker.faults == {"unreachable": 1}


def test_a_passing_failure_is_asked_again_inside_the_deadline(serve: Any) -> None:
    server = serve((503, b"{}"), (429, b"{}"), completion(GOOD))
    thinker = planner(server.url, deadline_s=5.0)
    assert len(list(thinker.think(request(1), "short"))) == 1
    assert len(server.asked) == 3
    assert not thinker.faults


def test_no_attempt_begins_after_the_deadline() -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    config = EndpointConfig("http://127.0.0.1:9/v1", "some-model", 0.2)
    endpoint = ChatEndpoint(config, now=lambda: clock[0], sleep=sleep)
    thinker = RemotePlanner(SPEC, endpoint, None, ThinkConfig())
    assert list(thinker.think(request(1), "none")) == []
    assert clock[0] < 0.2
    assert endpoint.retries == 1


def test_every_word_of_the_table_is_read_back() -> None:
    for question in asked(SPEC, "full"):
        for slot in question.slots:
            for word in slot.words:
                words = {s.name: s.words[0] for s in question.slots} | {slot.name: word}
                answers = read_answers(json.dumps({question.name: words}), [question])
                assert question.parse(answers[question.name])[slot.name] == word


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (EndpointConfig("localhost:8000", "m"), "must begin with http"),
        (EndpointConfig("http://127.0.0.1:800000/v1", "m"), "names no host, or no port"),
        (EndpointConfig("http://[::1/v1", "m"), "names no host, or no port"),
        (EndpointConfig("http:///v1", "m"), "names no host, or no port"),
        (EndpointConfig("http://127.0.0.1:8000/v1", ""), "system2.model is empty"),
        (EndpointConfig("http://127.0.0.1:8000/v1", "m", 0.0), "deadline_s must be above zero"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(config: EndpointConfig, words: str) -> None:
    with pytest.raises(DualsysError, match=words):
        ChatEndpoint(config)


def test_a_run_goes_on_without_answers_and_counts_them(
    serve: Any, untrained: Path, tmp_path: Path
) -> None:
    server = serve(completion(GOOD), b"nonsense")
    words = ["scenario=driving/merge", "system2=remote", f"system2.url={server.url}"]
    words += ["system2.model=m", f"system1.checkpoint={untrained}", f"out={tmp_path}"]
    values = load("eval", [*words, "runtime.episode_s=4"])
    results = evaluate(values, ["driving/merge"], [0], lambda result: None)
    calls = results["calls"]
    assert calls > 2
    assert results["drops"]["planner_malformed"] >= calls - 2
    assert results["guidance"]["ticks_alone"] < results["guidance"]["ticks"]


def test_an_image_of_another_size_is_not_asked_about_and_counted(serve: Any) -> None:
    server = serve(completion(GOOD))
    thinker, wanted = planner(server.url), request(0)
    small = {"topdown": np.zeros((32, 32, 3), np.uint8)}
    foreign = msgspec.structs.replace(wanted.observation, images=small)
    assert list(thinker.think(msgspec.structs.replace(wanted, observation=foreign), "short")) == []
    assert thinker.faults == {"foreign_observation": 1}
    assert not server.asked


def test_the_last_attempt_is_followed_by_no_pause() -> None:
    pauses: list[float] = []
    config = EndpointConfig("http://127.0.0.1:9/v1", "some-model", 60.0)
    endpoint = ChatEndpoint(config, now=lambda: sum(pauses), sleep=pauses.append)
    thinker = RemotePlanner(SPEC, endpoint, None, ThinkConfig())
    assert list(thinker.think(request(1), "none")) == []
    assert thinker.faults == {"unreachable": 1}
    assert tuple(pauses) == PAUSES_S
    assert endpoint.retries == len(PAUSES_S)
