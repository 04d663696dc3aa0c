from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dualsys.codec import decode, encode
from dualsys.errors import DualsysError, SpecMismatchError, UnknownNameError
from dualsys.messages import Guidance, Observation, PlanRequest, Stamp
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.checkpoint import Planning
from dualsys.system2.questions import BUDGETS, asked
from dualsys.system2.thinking import ThinkConfig, Thinking
from dualsys.system2.vision import VisionPlanner
from sim.driving.spec import SPEC
from sim.manipulation.metaworld import SPEC as ARM


@pytest.fixture(scope="module")
def planning(planner_folder: Path) -> Planning:
    return checkpoints.load(planner_folder, SPEC)


def request(number: int, samples: int = 2) -> PlanRequest:
    rng = np.random.default_rng(number)
    stamp = Stamp(9, 1, number + 1, number, 0)
    state = rng.uniform(0, 20, len(SPEC.state)).astype(np.float32)
    observation = Observation(
        stamp,
        {"topdown": rng.integers(0, 256, (64, 64, 3), np.uint8)},
        {"topdown": number},
        state,
        np.zeros((SPEC.scene_rows, len(SPEC.scene_fields)), np.float32),
        "drive on along the highway",
    )
    chunks = rng.normal(0, 0.2, (samples, 16, 2)).astype(np.float32)
    return PlanRequest(stamp, number, observation, chunks, "periodic", 0.0, "short")


def check(guidance: Guidance, wanted: PlanRequest) -> None:
    assert guidance.request_id == wanted.request_id
    assert guidance.stamp == wanted.stamp
    assert 0 <= guidance.plan < len(SPEC.plans)
    assert guidance.z.shape in {(0,), (8,)}
    assert np.isfinite(guidance.candidate).all()
    assert guidance.candidate.shape in {(0, 2), (16, 2)}
    if len(guidance.candidate):
        assert (guidance.candidate >= SPEC.action_low).all()
        assert (guidance.candidate <= SPEC.action_high).all()
        assert np.isfinite(guidance.value)
    decode(encode(guidance))


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_thought_gets_better_and_ends(planning: Planning, budget: str) -> None:
    planner = VisionPlanner(SPEC, planning, ThinkConfig())
    told = list(planner.think(request(3), budget))
    assert [g.final for g in told] == [False] * (len(told) - 1) + [True]
    assert len(told) == (2 if budget == "none" else 3)
    assert len(told[0].candidate) == 0
    assert len(told[1].candidate) == 16
    assert planner.thought is not None
    assert list(planner.thought.answers) == [question.name for question in asked(SPEC, budget)]
    assert planner.thought.candidates.shape == (5, 16, 2)
    assert planner.thought.values.argmax() == planner.thought.chosen
    decode(encode(planner.thought))
    for guidance in told:
        check(guidance, request(3))


def test_equal_requests_get_equal_guidance(planning: Planning) -> None:
    one, two = (
        [encode(g) for g in VisionPlanner(SPEC, planning, ThinkConfig()).think(request(5), "full")]
        for _ in range(2)
    )
    assert one == two


def test_a_thought_ends_between_two_questions_once_something_was_told(planning: Planning) -> None:
    planner = VisionPlanner(SPEC, planning, ThinkConfig(votes=3, majority=3))
    whole = [encode(g) for g in planner.think(request(5), "full")]
    asked_at: list[int] = []

    def stop_after(count: int) -> Callable[[], bool]:
        asked_at.clear()
        return lambda: (asked_at.append(1), len(asked_at) > count)[1]

    assert [encode(g) for g in planner.think(request(5), "full", stop_after(99))] == whole
    assert len(asked_at) in {8, 12}, "four questions, then a vote or two of as many"
    last = len(asked_at) - 1
    for count in (0, 3, last):
        told = [encode(g) for g in planner.think(request(5), "full", stop_after(count))]
        assert told == whole[:2]
        assert len(asked_at) == count + 1
        assert planner.thought is not None
        assert planner.thought.chosen >= 0, "that of the newest guidance"
    assert [encode(g) for g in planner.think(request(5), "full")] == whole


def test_a_thousand_interrupted_thoughts_leave_nothing_behind(planning: Planning) -> None:
    planner = VisionPlanner(SPEC, planning, ThinkConfig(candidates=2))
    rng = np.random.default_rng(0)
    whole = [encode(g) for g in planner.think(request(0), "full")]
    for number in range(1, 1001):
        wanted, stop = request(number % 50 + 1), int(rng.integers(1, 4))
        for index, guidance in enumerate(planner.think(wanted, str(rng.choice(BUDGETS)))):
            check(guidance, wanted)
            if index + 1 == stop:
                break
    assert [encode(g) for g in planner.think(request(0), "full")] == whole


def test_a_clear_lead_ends_the_thought(planning: Planning) -> None:
    patient = VisionPlanner(SPEC, planning, ThinkConfig())
    hasty = VisionPlanner(SPEC, planning, ThinkConfig(value_gap=0.0))
    assert len(list(hasty.think(request(7), "full"))) == 2
    assert len(list(patient.think(request(7), "full"))) == 3


def test_majority_ends_the_vote(planning: Planning) -> None:
    planner = VisionPlanner(SPEC, planning, ThinkConfig(votes=7, majority=3))
    list(planner.think(request(11), "full"))
    assert planner.thought is not None
    votes = planner.thought.votes
    assert max(votes.values()) == 3 or sum(votes.values()) == 7
    assert planner.thought.answers["plan"] in votes


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_warm_up_leaves_nothing_behind(planning: Planning, budget: str) -> None:
    cold, warm = (VisionPlanner(SPEC, planning, ThinkConfig()) for _ in range(2))
    warm.warm_up(budget)
    assert warm.thought is None
    assert not warm.faults
    one, two = ([encode(g) for g in p.think(request(6), budget)] for p in (cold, warm))
    assert one == two


def test_no_more_samples_are_drawn_than_training_drew(planning: Planning) -> None:
    def seen(samples: int, drawn: int) -> np.ndarray:
        card = msgspec.structs.replace(planning.card, prompt_samples=drawn)
        taught = msgspec.structs.replace(planning, card=card)
        asked = msgspec.structs.replace(request(4), samples=request(4).samples[:samples])
        return Thinking(SPEC, taught, ThinkConfig(), asked).images["topdown"]

    assert planning.card.prompt_samples == 1
    np.testing.assert_array_equal(seen(2, 1), seen(1, 2))
    assert (seen(2, 2) != seen(2, 1)).any()


def test_system_1s_chunk_is_read_as_numbers_too(planning: Planning) -> None:
    def proposal(samples: np.ndarray, prompts: bool = True) -> torch.Tensor | None:
        asked = msgspec.structs.replace(request(4), samples=samples)
        return Thinking(SPEC, planning, ThinkConfig(prompts=prompts), asked)._proposal()

    samples = request(4).samples
    first = proposal(samples)
    assert first is not None
    norm = planning.normalisation
    told = (first[0] * norm["action_std"] + norm["action_mean"]).numpy()
    np.testing.assert_allclose(told, samples[0, :12], atol=1e-6)
    short = proposal(samples[:, :5])
    assert short is not None
    torch.testing.assert_close(short[0, :5], first[0, :5])
    torch.testing.assert_close(short[0, 5:], first[0, 4].expand(7, 2))
    assert proposal(samples, prompts=False) is None
    assert proposal(samples[:0]) is None


def test_what_is_switched_off_is_not_sent(planning: Planning) -> None:
    bare = VisionPlanner(SPEC, planning, ThinkConfig(candidates=0, send_code=False))
    (first, last) = bare.think(request(2), "short")
    assert len(first.z) == len(last.z) == len(last.candidate) == 0
    assert np.isnan(last.value)


def test_as_many_entries_of_the_code_are_sent_as_told(planning: Planning) -> None:
    whole, cut = (
        next(VisionPlanner(SPEC, planning, told).think(request(9), "none")).z
        for told in (ThinkConfig(), ThinkConfig(code_entries=3))
    )
    np.testing.assert_array_equal(cut, whole[:3])
    for entries, words in ((9, "has 8 entries"), (0, "must be one or more")):
        with pytest.raises(DualsysError, match=words):
            VisionPlanner(SPEC, planning, ThinkConfig(code_entries=entries))


def test_the_prompts_reach_the_model_and_can_be_switched_off(planning: Planning) -> None:
    shown = VisionPlanner(SPEC, planning, ThinkConfig())
    hidden = VisionPlanner(SPEC, planning, ThinkConfig(prompts=False))
    wanted = request(4)
    for planner, changed in ((shown, True), (hidden, False)):
        next(iter(planner.think(wanted, "none")))
        assert planner.thought is not None
        seen = planner.thought.images["topdown"]
        assert (not np.array_equal(seen, wanted.observation.images["topdown"])) is changed


def test_bad_settings_are_refused(planning: Planning, planner_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="first, random, value"):
        VisionPlanner(SPEC, planning, ThinkConfig(choice="best"))
    with pytest.raises(DualsysError, match="majority <= votes"):
        VisionPlanner(SPEC, planning, ThinkConfig(majority=4))
    with pytest.raises(DualsysError, match=r"12 candidates do not fit .* take 10 or fewer"):
        VisionPlanner(SPEC, planning, ThinkConfig(candidates=12))
    with pytest.raises(UnknownNameError, match="full, none, short"):
        next(VisionPlanner(SPEC, planning, ThinkConfig()).think(request(1), "long"))
    with pytest.raises(SpecMismatchError, match="topdown"):
        checkpoints.load(planner_folder, ARM)
    bare = tmp_path / "bare"
    shutil.copytree(planner_folder, bare)
    (bare / checkpoints.HEADS).unlink()
    with pytest.raises(DualsysError, match="without the planner's heads"):
        checkpoints.load(bare)


def test_critics_that_nobody_trained_do_not_choose(planning: Planning) -> None:
    card = msgspec.structs.replace(planning.card, training={})
    bare = msgspec.structs.replace(planning, card=card)
    with pytest.raises(DualsysError, match=r"train value.*choice=random.*candidates=1"):
        VisionPlanner(SPEC, bare, ThinkConfig(candidates=2))
    for allowed in (
        ThinkConfig(candidates=2, choice="random"),
        ThinkConfig(candidates=2, choice="first"),
        ThinkConfig(candidates=1),
        ThinkConfig(candidates=0),
    ):
        assert list(VisionPlanner(SPEC, bare, allowed).think(request(1), "none"))


def test_heads_of_another_model_are_refused(planner_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(planner_folder, other)
    card = msgspec.json.decode((other / checkpoints.CARD).read_bytes())
    card["heads"]["text_width"] = 32
    (other / checkpoints.CARD).write_bytes(msgspec.json.encode(card))
    with pytest.raises(DualsysError, match="read 32 features"):
        checkpoints.load(other)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            checkpoints.HEADS,
            r"heads\.safetensors is no whole weights file .* copy it again or train",
        ),
        (checkpoints.CARD, "is not a System-2 model card"),
        ("model.safetensors", "no image-text checkpoint that transformers can open"),
        ("config.json", "no image-text checkpoint that transformers can open"),
        ("tokenizer.json", "no image-text checkpoint that transformers can open"),
    ],
)
def test_a_file_cut_in_half_is_one_clear_error(
    planner_folder: Path, tmp_path: Path, name: str, words: str
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(planner_folder, cut)
    whole = (cut / name).read_bytes()
    (cut / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DualsysError, match=words):
        checkpoints.load(cut)


@pytest.mark.parametrize(
    ("file", "name"),
    [(checkpoints.HEADS, "state_mean"), ("model.safetensors", "model.text_model.norm.weight")],
)
def test_weights_that_are_no_numbers_are_refused_by_name(
    planner_folder: Path, tmp_path: Path, file: str, name: str
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(planner_folder, damaged)
    tensors = load_file(damaged / file)
    tensors[name][0] = torch.nan
    save_file(tensors, damaged / file, {"format": "pt"})
    with pytest.raises(DualsysError, match=rf"hold NaN or infinity \({name}\); .* copy it again"):
        checkpoints.load(damaged)


def test_an_image_of_another_size_is_no_guidance_and_counted(planning: Planning) -> None:
    planner = VisionPlanner(SPEC, planning, ThinkConfig())
    wanted = request(0)
    small = {"topdown": np.zeros((32, 32, 3), np.uint8)}
    foreign = msgspec.structs.replace(wanted.observation, images=small)
    assert list(planner.think(msgspec.structs.replace(wanted, observation=foreign), "short")) == []
    assert planner.faults == {"foreign_observation": 1}
    assert planner.thought is None
    assert list(planner.think(wanted, "none")), "the next request is answered"
