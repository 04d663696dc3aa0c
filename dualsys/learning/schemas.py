"""The typed shape of the learning commands' configuration; the values live in conf/ (YAML)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from dualsys.system2.sizes import HeadSizes, ModelSizes
from sim.driving.terms import WEIGHTS


@dataclass
class Optimisation:
    """What every training has."""

    steps: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    seed: int = 0
    threads: int = 2
    device: str = "auto"  # "auto": a GPU when there is one
    track: str = "tensorboard"  # where the curve goes besides curve.csv; or wandb, none
    ray_address: str = ""  # train on this Ray cluster; "local" starts one here, "" needs none
    ray_gpus: float = 0.0  # of a machine of the cluster, that the training has to itself


@dataclass
class NetworkSizes:
    """Sizes of System 1's network that are not given by the world."""

    horizon: int = MISSING
    width: int = MISSING
    layers: int = MISSING
    heads: int = MISSING
    plan_vector_size: int = MISSING
    keypoints: int = MISSING
    token_grid: int = MISSING
    flow_steps: int = MISSING
    commit_ticks: int = MISSING


@dataclass
class TrainSystem1Config(Optimisation):
    """`dualsys train system1`."""

    data: Any = MISSING  # a dataset, or a list of them
    out: str = MISSING
    start: str = ""  # checkpoint to begin with; "" begins with random weights
    planner: str = ""  # System-2 checkpoint whose plans, candidates and codes are learned from
    prompts_from: str = ""  # System-1 checkpoint whose samples that planner sees; "": start
    advice_every_ticks: int = 8
    advice_candidates: int = 5
    network: NetworkSizes = field(default_factory=NetworkSizes)
    perceive: list[list[int]] = MISSING  # (row, column) of the scene values to regress
    laplace_weight: float = MISSING
    perceive_weight: float = MISSING
    plan_dropout: float = MISSING
    candidate_rate: float = MISSING
    max_plan_age_s: float = MISSING
    shift_px: int = MISSING
    commit_rate: float = MISSING


@dataclass
class TrainExitsConfig(Optimisation):
    """`dualsys train exits`."""

    checkpoint: str = MISSING  # System 1, whose weights stay as they are; its exits come beside
    data: Any = MISSING  # a dataset of what it meets, or a list of them
    out: str = MISSING  # state and curve
    planner: str = ""  # System-2 checkpoint whose plans, candidates and codes are met
    advice_every_ticks: int = MISSING
    advice_candidates: int = MISSING
    hidden: int = MISSING


@dataclass
class PlannerWeights:
    """Weights of the terms of the loss."""

    answer: float = MISSING
    flow: float = MISSING
    code: float = MISSING
    see: float = MISSING


@dataclass
class TrainSystem2Config(Optimisation):
    """`dualsys train system2`."""

    data: Any = MISSING  # a dataset, or a list of them
    out: str = MISSING
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    prompt_samples: int = MISSING  # how many; in runs System 1 gives as many as system1.samples
    base: str = ""  # local folder of a checkpoint to fine-tune; "" builds a small one
    lora_rank: int = 0  # 0 trains every weight
    model: ModelSizes = field(default_factory=ModelSizes)
    heads: HeadSizes = field(default_factory=HeadSizes)
    weights: PlannerWeights = field(default_factory=PlannerWeights)
    plans: str = "rules"  # what plan is right: the traffic rules' at the tick, or the recorded
    every_ticks: int = MISSING  # rows of the dataset that are used
    average_decay: float = MISSING


@dataclass
class HeadsWeights:
    """Weights of the terms of the loss."""

    flow: float = MISSING
    code: float = MISSING


@dataclass
class TrainHeadsConfig(Optimisation):
    """`dualsys train heads`."""

    planner: str = MISSING  # folder of a trained planner; its heads are trained in place
    data: Any = MISSING  # demonstrations: a dataset, or a list of them
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    weights: HeadsWeights = field(default_factory=HeadsWeights)
    plans: str = "rules"  # as in the training of the model
    proposal_ticks: int | None = (
        None  # let the heads read so much of System 1's chunk; None: as before
    )
    own_plans: float = MISSING  # share of ticks under the plan that the planner itself answers
    every_ticks: int = MISSING
    average_decay: float = MISSING


@dataclass
class TrainValueConfig(Optimisation):
    """`dualsys train value`."""

    planner: str = MISSING  # folder of a trained planner; its value head is trained in place
    data: Any = MISSING  # a dataset with successes and failures, or a list of them
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    candidates: int = MISSING
    gamma: float = MISSING  # discount per second
    alpha: float = MISSING  # weight of the conservative term
    every_ticks: int = MISSING
    average_decay: float = MISSING


@dataclass
class ScoreConfig:
    """`dualsys score`."""

    planner: str = MISSING  # folder of a trained planner
    data: Any = MISSING  # a dataset it was not trained on, or a list of them
    out: str = MISSING  # a JSON file
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    plans: str = "rules"  # what plan is right: the traffic rules' at the tick, or the recorded
    ticks: int = MISSING  # how many recorded ticks are drawn
    candidates: int = MISSING
    batch_size: int = MISSING
    seed: int = 0
    threads: int = 2
    device: str = "auto"  # as in training


@dataclass
class InstructWeights:
    """Weights of the terms of the loss."""

    answer: float = MISSING
    flow: float = MISSING
    code: float = MISSING
    reward: float = MISSING
    distance: float = MISSING


@dataclass
class DriveTerms:
    """Weights of what makes a drive good."""

    safety: float = WEIGHTS.safety
    comfort: float = WEIGHTS.comfort
    efficiency: float = WEIGHTS.efficiency
    economy: float = WEIGHTS.economy


@dataclass
class TrainInstructConfig(Optimisation):
    """`dualsys train instruct`."""

    planner: str = MISSING  # folder of the planner to begin with
    scores: str = MISSING  # plans tried out: a file of launch/try_plans.py
    data: Any = MISSING  # demonstrations for the supervised terms, a dataset or a list of them
    out: str = MISSING
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    terms: DriveTerms = field(default_factory=DriveTerms)
    weights: InstructWeights = field(default_factory=InstructWeights)
    plans: str = "foretold"  # of the supervised terms: rules, recorded, or foretold from the tried
    driven: list[str] = field(default_factory=list)  # further datasets of drives to take states of
    foretold_states: int = MISSING  # states whose scores are foretold, beside the tried ones
    states: int = MISSING  # tried states per step
    every_ticks: int = MISSING
    average_decay: float = MISSING
    warmup_steps: int = MISSING


@dataclass
class DistillConfig(TrainSystem1Config):
    """`dualsys distill`: as `train system1`, from the successes of guided runs."""

    runs: list[str] = MISSING
    data: Any = field(default_factory=list)  # further demonstrations


@dataclass
class TrainGateConfig:
    """`dualsys train gate`."""

    data: Any = MISSING  # a file of launch/try_calls.py, or a list of them
    out: str = MISSING
    trees: int = MISSING
    leaf: int = MISSING
    tried_features: float = MISSING
    cap: float = MISSING
    aversion: float = MISSING
    seed: int = MISSING
    threads: int = MISSING
