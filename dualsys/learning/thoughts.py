"""What a trained planner thinks at the ticks of a dataset: frozen inputs of the value and cascade.

The language model is run once over the rows; what is trained on top of it then costs little.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dualsys.errors import DualsysError
from dualsys.learning.joined import JoinedDataset
from dualsys.learning.preparation import Told, quiet, spans
from dualsys.learning.samples import system1_samples
from dualsys.learning.train_system2 import run_over
from dualsys.learning.trainer import to_device
from dualsys.learning.views import Views
from dualsys.spec import require_same
from dualsys.system2.checkpoint import Planning
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.questions import chain


class Thoughts(msgspec.Struct, frozen=True):
    """One thought per row, all tensors on the processor; actions normalised as the planner's.

    tokens: float16 (N, L, D), what the heads read; candidates: float32 (N, C, knots, A), the depth
    ladder; code: float32 (N, Z), the plan vector; plan: int64 (N,), under which all these are, -1
    for none.
    """

    tokens: Tensor
    candidates: Tensor
    code: Tensor
    plan: Tensor


class Reading(msgspec.Struct, frozen=True):
    """Prompts that the model has read.

    hidden: float32 (B, L, D), last hidden states; there: bool (B, L), their mask; logits: float32
    (B, V), for the token that follows.
    """

    hidden: Tensor
    there: Tensor
    logits: Tensor


def think_at(
    planning: Planning,
    dataset: JoinedDataset,
    rows: np.ndarray,
    prompts_from: str,
    candidates: int,
    seed: int = 0,
    plans: np.ndarray | None = None,
    told: Told = quiet,
) -> Thoughts:
    """Think at `rows` of a dataset, under the plans that it holds.

    `plans` int (M,) are given in place of the dataset's; where there is none, -1, the planner's own
    answer is taken.

    Raises `SpecMismatchError` when planner and data are of two worlds.
    """
    require_same(planning.card.spec, dataset.spec, "the planner", "the data")
    views = views_of(planning, dataset, rows, prompts_from)
    return think(planning, views, candidates, seed, plans=plans, told=told)


@torch.inference_mode()
def read(
    planning: Planning,
    views: Views,
    places: list[int],
    drawn: np.ndarray,
    said: Sequence[int] = (),
) -> Reading:
    """Read the prompts at `places`, and after them the tokens `said` in the model's own turn.

    In bfloat16, as in training: that takes half the time, and changes the states by half a percent.
    """
    inputs, model = views.prompt(places, drawn), planning.language.model
    after = torch.tensor([list(said)] * len(places), dtype=torch.long, device=model.device)
    with torch.autocast(model.device.type, torch.bfloat16):
        read = run_over(model, inputs, after, torch.ones_like(after), 1)
    hidden, there, logits = (tensor.cpu() for tensor in read)
    return Reading(hidden.float(), there, logits[:, -1].float())


@torch.inference_mode()
def read_and_plan(
    planning: Planning, views: Views, places: list[int], drawn: np.ndarray
) -> tuple[Reading, Tensor]:
    """Read the prompts at `places` and answer the question of the plan alone, greedily.

    This is the first thing that a run is told, under every budget; considering the hazard may
    change it later. Returns what was read, and the plans, int64 (B,).
    """
    question, language = chain(views.spec)[-1], planning.language
    grammar = AnswerGrammar(question, language.tokenize)
    asked = language.tokenize(f" {question.phrasings[0]}")
    reading = read(planning, views, places, drawn, asked)
    answers: list[tuple[int, ...]] = [()] * len(places)
    rows, logits = list(range(len(places))), reading.logits
    while rows:
        for row, seen in zip(rows, logits, strict=True):
            allowed = grammar.allowed(answers[row])
            answers[row] = (*answers[row], allowed[int(seen[allowed].argmax())])
            while len(sure := grammar.allowed(answers[row])) == 1:
                answers[row] = (*answers[row], sure[0])
        # Those that are not at an end all look alike as a rule: the first such group goes on.
        open_rows = [row for row, answer in enumerate(answers) if grammar.allowed(answer)]
        rows = [row for row in open_rows if answers[row] == answers[open_rows[0]]]
        if rows:
            there = [places[row] for row in rows]
            logits = read(planning, views, there, drawn[rows], [*asked, *answers[rows[0]]]).logits
    words = [next(iter(grammar.parse(answer).values())) for answer in answers]
    return reading, torch.tensor([views.spec.plans.index(word) for word in words])


@torch.inference_mode()
def think(
    planning: Planning,
    views: Views,
    candidates: int,
    seed: int = 0,
    batch_size: int = 64,
    plans: np.ndarray | None = None,
    told: Told = quiet,
) -> Thoughts:
    """Think about every view, under the recorded plans or under `plans`, as `think_at`."""
    heads, sizes = planning.heads, planning.heads.config
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[Tensor, ...]] = []
    for places in spans(len(views), batch_size, "reading", told):
        drawn = np.full(len(places), planning.card.prompts)
        state, plan = views.known(places)
        if plans is None:
            reading = read(planning, views, places, drawn)
        else:
            reading, answered = read_and_plan(planning, views, places, drawn)
            given = torch.from_numpy(plans[places])
            plan = functional.one_hot(torch.where(given >= 0, given, answered), plan.shape[1])
            plan = plan.float()
        proposal = views.proposals(places, drawn, sizes.proposal_ticks)
        noise = torch.randn((len(places), sizes.knots, sizes.action_size), generator=generator)
        seen = [reading.hidden, reading.there, state, plan, proposal]
        *seen, noise = to_device([*seen, noise], str(planning.device))
        tokens = heads.readout(*seen)
        ladder = heads.candidates.ladder(noise, tokens, candidates)
        number = torch.where(plan.any(-1), plan.argmax(-1), -1)
        found = tokens.half(), ladder, heads.bottleneck(tokens), number
        parts.append(tuple(tensor.cpu() for tensor in found))
    return Thoughts(*(torch.cat(found) for found in zip(*parts, strict=True)))


def views_of(
    planning: Planning, dataset: JoinedDataset, rows: np.ndarray, prompts_from: str
) -> Views:
    """What the planner sees at `rows`, as in a run: with prompts if it was trained with them.

    `prompts_from` is the System-1 checkpoint whose samples are drawn into the images. Raises
    `DualsysError` when the planner expects them and none is given.
    """
    samples = None
    if planning.card.prompts:
        if not prompts_from:
            raise DualsysError(
                "the planner was trained with System 1's samples drawn into its images; "
                "give prompts_from=FOLDER, the checkpoint whose samples are to be drawn"
            )
        samples = system1_samples(Path(prompts_from), dataset, rows, planning.card.prompt_samples)
    return Views(dataset, planning.language, rows, samples, planning.scale())
