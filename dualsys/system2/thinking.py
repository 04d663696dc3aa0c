"""The state of one thought, step by step: read, answer, vote, compress, propose, value, choose."""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.errors import DualsysError, UnknownNameError
from dualsys.messages import Guidance, PlanRequest, Thought
from dualsys.spec import WorldSpec
from dualsys.system2.checkpoint import Card, Planning
from dualsys.system2.coding import coarser
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.language import Prefix, describe
from dualsys.system2.planner import Stop, never
from dualsys.system2.prompts import as_numbers, prompted
from dualsys.system2.questions import Answers, Question

CHOICES = ("value", "random", "first")


class ThinkConfig(msgspec.Struct, frozen=True):
    """How to think; what is switched off here is an ablation."""

    candidates: int = 5  # 0: the plan alone
    choice: str = "value"  # among the candidates: "value", "random" or "first"
    send_code: bool = True
    code_levels: int | None = None  # send the code on a coarser grid of so many levels
    code_entries: int | None = None  # send so many of its entries; System 1 takes the rest for 0
    prompts: bool = True
    votes: int = 3  # plans sampled at most under the full budget
    majority: int = 2  # so many equal ones decide
    value_gap: float | None = None  # think no further when the best candidate leads by more

    def check(self, card: Card | None) -> None:
        """Raise `DualsysError` for a setting that is none, or is none of the planner of `card`.

        None is a planner without heads, which proposes nothing.
        """
        if self.choice not in CHOICES:
            raise UnknownNameError("system2.choice", self.choice, CHOICES)
        if self.code_levels is not None and self.code_levels < 2:
            raise DualsysError(
                f"system2.code_levels must be two or more, it is {self.code_levels}; to send no "
                "code at all, set system2.send_code=false"
            )
        if self.code_entries is not None and self.code_entries < 1:
            raise DualsysError(
                f"system2.code_entries must be one or more, it is {self.code_entries}; to send no "
                "code at all, set system2.send_code=false"
            )
        if not (self.candidates >= 0 and 1 <= self.majority <= self.votes):
            raise DualsysError(
                f"system2 needs candidates >= 0 and 1 <= majority <= votes, got candidates "
                f"{self.candidates}, majority {self.majority}, votes {self.votes}"
            )
        if card is not None:
            self._check_candidates(card)
            if self.code_entries is not None and self.code_entries > card.heads.code_size:
                raise DualsysError(
                    f"system2.code_entries={self.code_entries}, but this planner's code has "
                    f"{card.heads.code_size} entries"
                )

    def _check_candidates(self, card: Card) -> None:
        card.heads.depths(self.candidates)
        # Critics that nobody trained value every chunk alike: the first one would always win.
        if self.candidates > 1 and self.choice == "value" and "value" not in card.training:
            raise DualsysError(
                f"system2.choice=value lets this planner's critics choose among {self.candidates} "
                "candidates, its card tells of no training of theirs; train them with `dualsys "
                "train value`, or set system2.choice=random or system2.candidates=1"
            )


class Interrupted(Exception):  # noqa: N818 - no error: something more urgent came up
    """A thought was asked to stop between two questions."""


class Thinking:
    """The state of one thought; made anew for every request.

    Once it has an answer, `answer` and `vote` ask `stop()` before every question, and raise
    `Interrupted` when it is true.
    """

    def __init__(
        self,
        spec: WorldSpec,
        planning: Planning,
        config: ThinkConfig,
        request: PlanRequest,
        stop: Stop = never,
    ) -> None:
        self._spec, self.planning, self._config = spec, planning, config
        self._request, self._stop = request, stop
        observation = request.observation
        self._prompted = config.prompts and planning.card.prompts
        samples = request.samples[: planning.card.prompt_samples if self._prompted else 0]
        self.images = prompted(spec, observation, samples)
        text = describe(spec, observation.state, observation.instruction)
        ordered = [self.images[camera.name] for camera in spec.cameras]
        self._prefix: Prefix = planning.read(ordered, text)
        self._start = (self._prefix.length, self._prefix.logits)
        self._hidden = self._prefix.hidden
        # As System 1's noise: a function of episode and tick alone.
        self._rng = np.random.default_rng((request.stamp.epoch, request.stamp.tick, 2))
        self.answers: dict[str, str] = {}
        self.votes: Counter[str] = Counter()
        self.plan = 0
        self.code = np.zeros(0, np.float32)
        self.chunks = np.zeros((0, 0, len(spec.action)), np.float32)
        self.values = np.zeros(0, np.float32)
        self.chosen = -1

    @property
    def clear(self) -> bool:
        """True when the best candidate leads by more than the margin."""
        if len(self.values) < 2 or self._config.value_gap is None:
            return False
        second, best = np.sort(self.values)[-2:]
        return bool(best - second > self._config.value_gap)

    def answer(self, questions: list[Question], grammars: dict[str, AnswerGrammar]) -> None:
        """Answer the questions one after the other; the last one is the plan."""
        self.settle(self._ask(questions, grammars, None))

    def settle(self, answers: Answers) -> None:
        """Take these answers for given, the plan among them."""
        self.answers = dict(answers)
        self.plan = self._spec.plans.index(self.answers["plan"].removesuffix("."))

    def vote(self, questions: list[Question], grammars: dict[str, AnswerGrammar]) -> None:
        """Sample whole chains until `majority` of at most `votes` agree on the plan."""
        generator = torch.Generator().manual_seed(int(self._rng.integers(2**31)))
        self.votes = Counter([self.answers["plan"]])
        while (
            self.votes.most_common(1)[0][1] < self._config.majority
            and self.votes.total() < self._config.votes
        ):
            sampled = self._ask(questions, grammars, generator)
            self.votes[sampled["plan"]] += 1
            if self.votes.most_common(1)[0][0] == sampled["plan"]:
                self.answers = sampled
        self.settle(self.answers)

    def _ask(
        self,
        questions: list[Question],
        grammars: dict[str, AnswerGrammar],
        generator: torch.Generator | None,
    ) -> dict[str, str]:
        language = self.planning.language
        language.rewind(self._prefix, *self._start)
        said = {}
        for question in questions:
            if self.answers and self._stop():
                raise Interrupted
            grammar = grammars[question.name]
            answer = language.answer(self._prefix, question.phrasings[0], grammar, generator)
            said[question.name] = question.write(tuple(answer.words.values()))
        return said

    @torch.inference_mode()
    def compress(self) -> None:
        """The plan vector for the present plan."""
        if self._config.send_code:
            code = self.planning.heads.bottleneck(self._tokens())[0].cpu().numpy()
            self.code = code[: self._config.code_entries]
            if self._config.code_levels is not None:
                self.code = coarser(self.code, self._config.code_levels)

    @torch.inference_mode()
    def propose(self) -> None:
        """The ladder of candidates under the present plan, their values and the choice."""
        normalisation, sizes = self.planning.normalisation, self.planning.heads.config
        tokens = self._tokens()
        noise = self._rng.standard_normal((1, sizes.knots, sizes.action_size), np.float32)
        source = torch.from_numpy(noise).to(tokens.device)
        ladder, values = self.planning.propose(tokens, source, self._config.candidates)
        # The lesser of the two critics: a chunk is as good as the more doubtful one says.
        self.values = values.min(-1).values[0].cpu().numpy()
        knots = ladder[0] * normalisation["action_std"] + normalisation["action_mean"]
        ticks = knots.cpu().numpy().repeat(sizes.stride_ticks, axis=1).astype(np.float32)
        self.chunks = np.clip(ticks, self._spec.action_low, self._spec.action_high)
        self.chosen = self._choose()

    @torch.inference_mode()
    def weigh(self, chunks: np.ndarray) -> None:
        """Value chunks of somebody else's, (N, T, A) in the world's units, and choose among them.

        What the critics read of them is as long as candidates are; a shorter one is held at its
        end.
        """
        normalisation, sizes = self.planning.normalisation, self.planning.heads.config
        ticks = (np.arange(sizes.knots * sizes.stride_ticks)).clip(max=chunks.shape[1] - 1)
        shape = (len(chunks), sizes.knots, sizes.stride_ticks, sizes.action_size)
        knots = torch.from_numpy(chunks[:, ticks].reshape(shape).mean(2))
        scaled = (knots.to(normalisation["action_mean"]) - normalisation["action_mean"]) / (
            normalisation["action_std"]
        )
        values = self.planning.heads.value(self._tokens(), scaled[None])
        self.values = values.min(-1).values[0].cpu().numpy()
        self.chunks, self.chosen = chunks, self._choose()

    def _choose(self) -> int:
        if self._config.choice == "value":
            return int(self.values.argmax())
        return int(self._rng.integers(len(self.values))) if self._config.choice == "random" else 0

    def _tokens(self) -> Tensor:
        hidden, normalisation = self._hidden, self.planning.normalisation
        raw = torch.from_numpy(self._request.observation.state.copy()).to(hidden.device)
        state = (raw - normalisation["state_mean"]) / normalisation["state_std"]
        plan = torch.zeros(1, len(self._spec.plans), device=hidden.device)
        plan[0, self.plan] = 1.0
        return self.planning.tokens(hidden.float(), state[None], plan, self._proposal())

    def _proposal(self) -> Tensor | None:
        """System 1's chunk (1, T, A) as numbers; None without visual prompts, or a chunk."""
        ticks, sent = self.planning.heads.config.proposal_ticks, self._request.samples
        if not (ticks and self._prompted and sent.size):
            return None
        norm = self.planning.normalisation
        scale = (norm[f"action_{name}"].cpu().numpy() for name in ("mean", "std"))
        return torch.from_numpy(as_numbers(sent[:1], ticks, *scale)).to(norm["action_mean"].device)

    def guidance(self, stage: str, final: bool) -> Guidance:
        """What System 1 is told: as little as possible."""
        sent = self.chosen >= 0
        empty = np.zeros((0, len(self._spec.action)), np.float32)
        said = " ".join(f"{name}: {answer}" for name, answer in self.answers.items())
        return Guidance(
            stamp=self._request.stamp,
            request_id=self._request.request_id,
            plan=self.plan,
            z=self.code,
            candidate=self.chunks[self.chosen] if sent else empty,
            value=float(self.values[self.chosen]) if sent else math.nan,
            final=final,
            thinking_ns=0,
            text=f"{stage}: {said}",
        )

    def report(self) -> Thought:
        """What is behind the guidance, for the log."""
        return Thought(
            stamp=self._request.stamp,
            request_id=self._request.request_id,
            images=dict(self.images),
            answers=dict(self.answers),
            candidates=self.chunks,
            values=self.values,
            chosen=self.chosen,
            votes=dict(self.votes),
        )
