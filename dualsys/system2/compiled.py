"""System 2 as engines see it: the networks of its parts, and a planner's reading by engines."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

import dualsys
from dualsys.messages import PlanRequest
from dualsys.spec import WorldSpec
from dualsys.system2.blank import blank_request
from dualsys.system2.checkpoint import HEADS, RECORDED, Planning
from dualsys.system2.language import Prefix, describe
from dualsys.system2.parts import parts_of
from dualsys.system2.thinking import ThinkConfig, Thinking
from kernels.engine import Engine, TensorSpec
from kernels.network import Arrays, Made, Network
from kernels.reference import RecordingEngine
from kernels.torch_engine import TorchEngine

MODEL = "model.safetensors"
INSTRUCTION = 32  # tokens that an instruction may have
STEP = 16  # a prompt's length is a multiple of it
_CODE = ("system2/parts.py", "system2/heads.py", "flow.py")


class CompiledPlanner:
    """Reads prompts and proposes chunks by engines; what they can not take, torch reads.

    engines: one for each of `parts_of`, by name. declined: prompts that torch read, by reason.
    """

    def __init__(self, planning: Planning, engines: Mapping[str, Engine]) -> None:
        self._planning, self._engines = planning, engines
        self._length = engines["reading"].inputs["embedded"].shape[1]
        self._pictures = engines["vision"].inputs["pixels"].shape
        self.declined: Counter[str] = Counter()

    @torch.inference_mode()
    def read(self, images: Sequence[np.ndarray], text: str) -> Prefix:
        """As `LanguageModel.read`."""
        language = self._planning.language
        batch = language.inputs([images], [text])
        if refusal := self._refusal(batch):
            self.declined[refusal] += 1
            return language.read(images, text)
        model, ids = language.model, batch["input_ids"]
        features = self._run("vision", pixels=batch["pixel_values"][0])["features"]
        embedded = model.get_input_embeddings()(ids)
        shown = (ids == model.config.image_token_id)[..., None]
        length = ids.shape[1]
        padded = embedded.new_zeros(1, self._length, embedded.shape[-1])
        padded[:, :length] = embedded.masked_scatter(shown, features.flatten(0, 1))
        found = self._run("reading", embedded=padded)
        hidden = found["hidden"][:, :length]
        cache = _cache(model, found["keys"][:, :, :length], found["values"][:, :, :length])
        return Prefix(cache, hidden, model.lm_head(hidden[0, -1]), length)

    def _refusal(self, batch: Mapping[str, Tensor]) -> str:
        if batch["input_ids"].shape[1] > self._length:
            return "prompt_longer_than_engine"
        whole = batch.get("pixel_attention_mask")
        if tuple(batch["pixel_values"][0].shape) != self._pictures or not (
            whole is None or bool(whole.all())
        ):
            return "pictures_of_another_shape"
        return ""

    def tokens(
        self, hidden: Tensor, state: Tensor, plan: Tensor, proposal: Tensor | None
    ) -> Tensor:
        """As `Readout`, of a prompt (1, L, W) no longer than the engine's."""
        length = hidden.shape[1]
        given = {
            "hidden": torch.nn.functional.pad(hidden, (0, 0, 0, self._length - length)),
            "present": (torch.arange(self._length) < length).float()[None],
            "state": state,
            "plan": plan,
        }
        if wanted := self._engines["readout"].inputs.get("proposal"):
            given["proposal"] = torch.zeros(wanted.shape) if proposal is None else proposal
        return self._run("readout", **given)["tokens"]

    def fits(self, hidden: Tensor) -> bool:
        """Whether a prompt is short enough for the engines."""
        return hidden.shape[1] <= self._length

    def propose(self, tokens: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Chunks (1, N, knots, A) and both critics' values (1, N, 2)."""
        found = self._run("candidates", tokens=tokens, noise=noise)
        return found["chunks"], found["values"]

    def _run(self, part: str, **given: Tensor) -> dict[str, Tensor]:
        # Copied: an engine's outputs may be its own buffers.
        found = self._engines[part].run({n: t.cpu().numpy() for n, t in given.items()})
        return {n: torch.tensor(a, device=self._planning.device) for n, a in found.items()}


def _cache(model: Any, keys: Tensor, values: Tensor) -> Any:
    from transformers.cache_utils import DynamicCache

    cache = DynamicCache(config=model.config)
    for layer, (key, value) in enumerate(zip(keys, values, strict=True)):
        cache.update(key[None], value[None], layer)
    return cache


def networks_of(
    folder: Path,
    planning: Planning,
    spec: WorldSpec,
    candidates: int,
    requests: Callable[[Path], Sequence[PlanRequest]],
) -> dict[str, Network]:
    """The parts of a planner of `folder` for a world, by name.

    `requests` reads the log of what the planner was asked at work, where one was recorded. Raises
    `DualsysError` for a language model of another family.
    """
    parts = parts_of(planning, candidates)
    made = {name: (parts[name], inputs) for name, inputs in _inputs(planning, spec).items()
            if name in parts}  # fmt: skip
    recorded = folder / RECORDED
    identity = {
        "weights": _digest([folder / MODEL, folder / HEADS]),
        "recorded": _digest([recorded]) if recorded.is_file() else "nothing",
        "candidates": str(candidates),
        "code": _digest([Path(dualsys.__file__).parent / name for name in _CODE]),
    }

    @functools.cache
    def met() -> dict[str, list[Arrays]]:
        asked = requests(recorded) if recorded.is_file() else []
        return _met(planning, spec, made, candidates, asked)

    def network(name: str) -> Network:
        return Network({"part": name, **identity}, lambda: made[name], lambda: met()[name])

    return {name: network(name) for name in made}


def _inputs(planning: Planning, spec: WorldSpec) -> dict[str, dict[str, TensorSpec]]:
    sizes, length = planning.card.heads, longest_prompt(planning, spec)
    blank = blank_request(spec, 0).observation
    images = [blank.images[camera.name] for camera in spec.cameras]
    pixels = planning.language.inputs([images], [""])["pixel_values"][0]
    tokens = sizes.read_tokens + 2 + bool(sizes.proposal_ticks)

    def floats(*shape: int) -> TensorSpec:
        return TensorSpec(shape, "float32")

    readout = {
        "hidden": floats(1, length, sizes.text_width),
        "present": floats(1, length),
        "state": floats(1, sizes.state_size),
        "plan": floats(1, sizes.plans),
    }
    if sizes.proposal_ticks:
        readout["proposal"] = floats(1, sizes.proposal_ticks, sizes.action_size)
    return {
        "vision": {"pixels": floats(*pixels.shape)},
        "reading": {"embedded": floats(1, length, sizes.text_width)},
        "readout": readout,
        "candidates": {
            "tokens": floats(1, tokens, sizes.width),
            "noise": floats(1, sizes.knots, sizes.action_size),
        },
    }


def longest_prompt(planning: Planning, spec: WorldSpec) -> int:
    """Tokens that the longest prompt about a world may have, rounded up.

    A state has the most digits at one of its limits.
    """
    blank = blank_request(spec, 0).observation
    images = [blank.images[camera.name] for camera in spec.cameras]
    digits = [
        max(axis.low, axis.high, key=lambda value: len(f"{value:.2f}")) for axis in spec.state
    ]
    text = describe(spec, np.array(digits, np.float32), "")
    read = planning.language.inputs([images], [text])["input_ids"].shape[1]
    return -(-(read + INSTRUCTION) // STEP) * STEP


def _met(
    planning: Planning,
    spec: WorldSpec,
    made: Mapping[str, Made],
    candidates: int,
    requests: Sequence[PlanRequest],
) -> dict[str, list[Arrays]]:
    """What each part is given while the requests are thought about in torch."""
    recorders = {n: RecordingEngine(TorchEngine(*parts)) for n, parts in made.items()}
    watched = msgspec.structs.replace(planning, compiled=CompiledPlanner(planning, recorders))
    for number, request in enumerate(requests):
        # Random among them: untrained critics, which some planners have, may not choose.
        config = ThinkConfig(candidates=candidates, choice="random")
        thinking = Thinking(spec, watched, config, request)
        thinking.settle({"plan": spec.plans[number % len(spec.plans)]})
        thinking.compress()
        if candidates:
            thinking.propose()
    return {name: recorder.asked for name, recorder in recorders.items()}


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
