"""`dualsys train heads`: candidates and bottleneck go on learning on what the model has read.

Reading a prompt costs far more than the heads do. It is done once per recorded tick here, so
the heads see each tick many times over; the language model stays as it is, and with it the answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.cards import gone_on, model_of, value_inputs, without_stale_value
from dualsys.learning.conversation import knots
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.lineage import HEADS, built_on
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.preparation import Told, before_steps, quiet, spans
from dualsys.learning.thoughts import read_and_plan, views_of
from dualsys.learning.train_system2 import ReadBatch, heads_losses, set_aside
from dualsys.learning.trainer import trained
from dualsys.learning.views import Views
from dualsys.spec import require_same
from dualsys.system2 import checkpoint
from dualsys.system2.checkpoint import Card, Planning
from dualsys.system2.heads import Heads

BATCH = 64


class Readings:
    """Recorded ticks as the model has read them, in half precision, held in memory."""

    def __init__(
        self,
        planning: Planning,
        dataset: JoinedDataset,
        views: Views,
        seed: int,
        own_plans: float = 0.0,
        told: Told = quiet,
    ) -> None:
        """`own_plans` is the share of ticks whose plan is the planner's answer, be it wrong.

        Candidates and code come under that plan in a run; the rest of the ticks has the recorded.
        """
        require_same(planning.card.spec, dataset.spec, "the planner", "the data")
        # Half of the ticks with visual prompts, as in the training of the model.
        rng = np.random.default_rng(seed)
        drawn = rng.random(len(views)) < 0.5
        drawn &= planning.card.prompts
        self._hidden, self._there, answered = _read(planning, views, drawn, told)
        self._state, recorded = views.known(list(range(len(views))))
        own = torch.from_numpy(rng.random(len(views)) < own_plans)
        self._plan = torch.where(own[:, None], answered, recorded)
        ticks, places = planning.heads.config.proposal_ticks, list(range(len(views)))
        self._proposal = views.proposals(places, drawn, ticks)
        _, end = dataset.episode_bounds()
        sizes, norm = planning.heads.config, views.normalisation
        self._chunk, self._mask = knots(dataset.action, views.rows, end, sizes, norm)

    def __len__(self) -> int:
        return len(self._state)

    def of_step(self, seed: int, step: int, size: int) -> ReadBatch:
        """The batch of training step `step`: a function of its arguments alone."""
        at = torch.from_numpy(np.random.default_rng((seed, step)).integers(0, len(self), size))
        return ReadBatch(
            self._hidden[at].float(),
            self._there[at],
            self._state[at],
            self._plan[at],
            self._proposal[at],
            self._chunk[at],
            self._mask[at],
        )


@torch.inference_mode()
def _read(
    planning: Planning, views: Views, drawn: np.ndarray, told: Told
) -> tuple[Tensor, Tensor, Tensor]:
    """All prompts as read: hidden states float16 (N, L, D), padded on the left, and mask (N, L).

    Third come the plans that the planner answers, one-hot (N, P).
    """
    hidden, there, plans = [], [], []
    for places in spans(len(views), BATCH, "reading", told):
        reading, answered = read_and_plan(planning, views, places, drawn[places])
        hidden.append(reading.hidden.half())
        there.append(reading.there)
        plans.append(answered)
    longest = max(part.shape[1] for part in there)
    total, width = len(views), hidden[0].shape[-1]
    whole = torch.zeros(total, longest, width, dtype=torch.float16)
    mask = torch.zeros(total, longest, dtype=torch.bool)
    at = 0
    for part, known in zip(hidden, there, strict=True):
        whole[at : at + len(part), longest - part.shape[1] :] = part
        mask[at : at + len(part), longest - part.shape[1] :] = known
        at += len(part)
    return whole, mask, functional.one_hot(torch.cat(plans), len(views.spec.plans)).float()


def _grown(planning: Planning, ticks: int | None) -> Planning:
    """The planner with heads that read `ticks` of System 1's chunk.

    What they knew they keep, but the values are to be trained anew: they read one token more.
    """
    old = planning.heads.config
    if ticks is None or ticks == old.proposal_ticks:
        return planning
    heads = Heads(dataclasses.replace(old, proposal_ticks=ticks)).to(planning.device)
    known = {n: v for n, v in planning.heads.state_dict().items() if "proposal_in" not in n}
    heads.load_state_dict({**heads.state_dict(), **known})
    card = msgspec.structs.replace(planning.card, heads=heads.config)
    return msgspec.structs.replace(planning, heads=heads, card=card)


def _check(config: dict[str, Any], planning: Planning) -> None:
    ticks, share = config["proposal_ticks"], config["own_plans"]
    if not 0 <= share <= 1:
        raise DualsysError(f"own_plans is a share from 0 to 1, it is {share}")
    if ticks is not None and ticks < 0:
        raise DualsysError(f"proposal_ticks must be zero (read none) or more, it is {ticks}")
    if ticks and not planning.card.prompts:
        raise DualsysError(
            "proposal_ticks lets the heads read System 1's chunk, this planner was trained without "
            "it (no prompts_from=); train it with prompts_from=FOLDER or leave proposal_ticks out"
        )


def fit_heads(config: dict[str, Any], progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Train (or go on training) the heads of the planner in `config["planner"]`, in place."""
    torch.set_num_threads(config["threads"])
    folder = Path(config["planner"])
    torch.manual_seed(config["seed"])
    planning = checkpoint.load(folder, device=device_of(config["device"]))
    before = value_inputs(planning)
    _check(config, planning)
    planning = _grown(planning, config["proposal_ticks"])
    told = before_steps(progress)
    dataset = open_datasets(config["data"], told)
    rows = np.arange(0, len(dataset.state), config["every_ticks"])
    label_plans(dataset, config["plans"], rows)
    views = views_of(planning, dataset, rows, config["prompts_from"])
    readings = Readings(planning, dataset, views, config["seed"], config["own_plans"], told)
    torch.manual_seed(config["seed"])
    heads = planning.heads.train()
    valued, others = set_aside(heads.value), [config["prompts_from"]]
    averaged = trained(
        heads,
        lambda batch: heads_losses(heads, batch),
        dict(config["weights"]),
        readings.of_step,
        config,
        folder / "training_heads",
        progress,
        built_on(dataset, planner=str(folder), trained=HEADS, others=others),
    )
    heads.load_state_dict(averaged)
    heads.value.load_state_dict(valued)
    card = _card(planning, config, len(readings))
    card = without_stale_value(card, before, value_inputs(planning), folder)
    checkpoint.save_heads(folder, heads, planning.normalisation, card)
    return folder


def _card(planning: Planning, config: dict[str, Any], ticks: int) -> Card:
    facts = {"weights": dict(config["weights"]), "ticks": ticks}
    facts |= {"plans": config["plans"], "own_plans": config["own_plans"]}
    card = gone_on(planning.card, "heads", config, facts)
    return msgspec.structs.replace(card, model=model_of(planning))
