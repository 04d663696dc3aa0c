"""The typed shape of every command's configuration; the values live in conf/ (YAML).

A misspelt key or a value of another type is refused by these types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class System1Config:
    """The reactive policy; times are rounded to control ticks."""

    checkpoint: str = "auto"  # a folder, or "auto": the shipped one of the world's domain
    replan_s: float = MISSING
    blend_s: float = MISSING
    max_guidance_age_s: float = MISSING
    phase_limit_s: float = MISSING
    noise_scale: float = MISSING
    cascade: bool = True  # go on from System 2's candidate; false carries it out as it is


@dataclass
class System2Config:
    """The planner; what follows the budget belongs to those that look at pictures."""

    name: str = MISSING
    budget: str = "short"  # "none" (the plan at once), "short" or "full"
    checkpoint: str = "auto"  # a local folder, or "auto": the shipped one of the world's domain
    threads: int = 1
    candidates: int = 5
    choice: str = "value"
    send_code: bool = True
    code_levels: int | None = None
    prompts: bool = True
    votes: int = 3
    majority: int = 2
    value_gap: float | None = None
    url: str = ""  # remote: an OpenAI-compatible endpoint, up to /v1
    model: str = ""  # remote: the name under which the model is served
    deadline_s: float = 2.0  # remote: no guidance when there is no answer by then
    max_tokens: int = 200  # remote: length of an answer
    key_variable: str = ""  # remote: the environment variable that holds the key, if one is needed


@dataclass
class TriggerConfig:
    """When System 1 asks System 2."""

    name: str = MISSING
    period_s: float = 1.0
    rate: float = 0.05
    seed: int = 0


@dataclass
class LatencyConfig:
    """Virtual latencies of lockstep; realtime has real ones."""

    name: str = MISSING
    system1_ticks: int = 0
    system2_ms: float = 0.0
    system2_median_ms: float = 200.0
    system2_p99_ms: float = 600.0
    trace: str = ""
    seed: int = 0


@dataclass
class RuntimeConfig:
    """Lockstep (virtual time, bit-reproducible) or realtime (processes on the wall clock)."""

    name: str = MISSING
    duration_s: float = 0.0  # realtime: stop after this long; 0 runs every seed once
    episode_s: float = 0.0  # lockstep: cut episodes off after this long; 0 lets them end
    labels: bool = False  # lockstep: log what the expert would do at every tick


@dataclass
class EngineConfig:
    """How System 1's network runs; the first usable engine of the list is taken."""

    names: list[str] = MISSING
    threads: int = 1


@dataclass
class ShieldConfig:
    """Limits that only the shield enforces."""

    max_observation_age_s: float = MISSING


@dataclass
class EvalConfig:
    """`dualsys eval` and `dualsys run`."""

    scenario: str | None = None  # a world of the registry
    suite: str | None = None
    system1: System1Config = field(default_factory=System1Config)
    system2: System2Config = field(default_factory=System2Config)
    trigger: TriggerConfig = field(default_factory=TriggerConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    shield: ShieldConfig = field(default_factory=ShieldConfig)
    seeds: str = "0:10"
    workers: int = 1
    out: str = "runs/latest"
    videos: int = 0  # film this many episodes of every scenario


@dataclass
class NoiseConfig:
    """Correlated noise on the executed action while collecting; fractions of half the range."""

    clean_share: float = MISSING
    scale: list[float] = MISSING  # one value per action axis
    burst_rate: float = MISSING  # bursts per tick


@dataclass
class CollectConfig:
    """`dualsys collect`."""

    scenario: str | None = None  # a world of the registry
    suite: str | None = None
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    seeds: str = "1000000:1000010"
    workers: int = 2
    out: str = MISSING
    stop_after_success_ticks: int = 20
    max_ticks: int = MISSING
    keep_failures: bool = False
    runs: list[str] = field(default_factory=list)  # take the episodes of these runs' logs instead


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


@dataclass
class TrainSystem1Config:
    """`dualsys train system1`."""

    data: Any = MISSING  # a dataset, or a list of them
    out: str = MISSING
    start: str = ""  # checkpoint to begin with; "" begins with random weights
    planner: str = ""  # System-2 checkpoint whose candidates and codes are learned from
    prompts_from: str = ""  # System-1 checkpoint whose samples that planner sees; "": start
    advice_every_ticks: int = 8
    advice_candidates: int = 5
    network: NetworkSizes = field(default_factory=NetworkSizes)
    perceive: list[list[int]] = MISSING  # (row, column) of the scene values to regress
    steps: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    laplace_weight: float = MISSING
    perceive_weight: float = MISSING
    plan_dropout: float = MISSING
    candidate_rate: float = MISSING
    max_plan_age_s: float = MISSING
    shift_px: int = MISSING
    seed: int = 0
    threads: int = 2
    device: str = "auto"  # "auto": a GPU when there is one


@dataclass
class PlannerHeads:
    """Sizes of System 2's heads that are not given by the world or the language model."""

    knots: int = 32
    width: int = 128
    layers: int = 3
    heads: int = 4
    read_tokens: int = 16
    flow_steps: int = 10
    depth_step: float = 0.1
    code_size: int = 8
    code_levels: int = 4


@dataclass
class PlannerModel:
    """Sizes of the vision-language model that is built when no base= is given."""

    image_px: int = 64
    patch_px: int = 8
    shuffle: int = 2
    vision_width: int = 192
    vision_layers: int = 4
    vision_heads: int = 4
    text_width: int = 256
    text_layers: int = 6
    text_heads: int = 4
    key_value_heads: int = 2
    vocabulary: int = 1024
    positions: int = 1024


@dataclass
class PlannerWeights:
    """Weights of the terms of the loss."""

    answer: float = MISSING
    flow: float = MISSING
    code: float = MISSING


@dataclass
class TrainSystem2Config:
    """`dualsys train system2`."""

    data: Any = MISSING  # a dataset, or a list of them
    out: str = MISSING
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    base: str = ""  # local folder of a checkpoint to fine-tune; "" builds a small one
    lora_rank: int = 0  # 0 trains every weight
    model: PlannerModel = field(default_factory=PlannerModel)
    heads: PlannerHeads = field(default_factory=PlannerHeads)
    weights: PlannerWeights = field(default_factory=PlannerWeights)
    every_ticks: int = MISSING  # rows of the dataset that are used
    steps: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    average_decay: float = MISSING
    seed: int = 0
    threads: int = 2
    device: str = "auto"


@dataclass
class HeadsWeights:
    """Weights of the terms of the loss."""

    flow: float = MISSING
    code: float = MISSING


@dataclass
class TrainHeadsConfig:
    """`dualsys train heads`."""

    planner: str = MISSING  # folder of a trained planner; its heads are trained in place
    data: Any = MISSING  # demonstrations: a dataset, or a list of them
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    weights: HeadsWeights = field(default_factory=HeadsWeights)
    every_ticks: int = MISSING
    steps: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    average_decay: float = MISSING
    seed: int = 0
    threads: int = 2
    device: str = "auto"


@dataclass
class TrainValueConfig:
    """`dualsys train value`."""

    planner: str = MISSING  # folder of a trained planner; its value head is trained in place
    data: Any = MISSING  # a dataset with successes and failures, or a list of them
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    candidates: int = MISSING
    gamma: float = MISSING  # discount per second
    alpha: float = MISSING  # weight of the conservative term
    every_ticks: int = MISSING
    steps: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    average_decay: float = MISSING
    seed: int = 0
    threads: int = 2
    device: str = "auto"


@dataclass
class ScoreConfig:
    """`dualsys score`."""

    planner: str = MISSING  # folder of a trained planner
    data: Any = MISSING  # a dataset it was not trained on, or a list of them
    out: str = MISSING  # a JSON file
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    ticks: int = MISSING  # how many recorded ticks are drawn
    candidates: int = MISSING
    batch_size: int = MISSING
    seed: int = 0
    threads: int = 2


@dataclass
class ThoughtsConfig:
    """`dualsys thoughts`."""

    run: str = MISSING  # folder of a run
    epoch: int = 0  # episode of the run, as results.json numbers them
    tick: int = -1  # tell all about the newest thought at this tick; -1 lists all thoughts
    images: str = ""  # folder for what System 2 saw; "" writes none


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

    safety: float = MISSING
    comfort: float = MISSING
    efficiency: float = MISSING
    economy: float = MISSING


@dataclass
class TrainInstructConfig:
    """`dualsys train instruct`."""

    planner: str = MISSING  # folder of the planner to begin with
    scores: str = MISSING  # plans tried out: a file of launch/try_plans.py
    data: Any = MISSING  # demonstrations for the supervised terms, a dataset or a list of them
    out: str = MISSING
    prompts_from: str = ""  # System-1 checkpoint whose samples are drawn into the images
    terms: DriveTerms = field(default_factory=DriveTerms)
    weights: InstructWeights = field(default_factory=InstructWeights)
    states: int = MISSING  # tried states per step
    every_ticks: int = MISSING
    steps: int = MISSING
    batch_size: int = MISSING  # supervised rows per step
    learning_rate: float = MISSING
    average_decay: float = MISSING
    warmup_steps: int = MISSING
    seed: int = 0
    threads: int = 2
    device: str = "auto"


@dataclass
class DistillConfig(TrainSystem1Config):
    """`dualsys distill`: as `train system1`, from the successes of guided runs."""

    runs: list[str] = MISSING
    data: Any = field(default_factory=list)  # further demonstrations


COMMANDS: dict[str, type[Any]] = {
    "eval": EvalConfig,
    "run": EvalConfig,
    "collect": CollectConfig,
    "thoughts": ThoughtsConfig,
    "score": ScoreConfig,
    "train system1": TrainSystem1Config,
    "train system2": TrainSystem2Config,
    "distill": DistillConfig,
    "train heads": TrainHeadsConfig,
    "train value": TrainValueConfig,
    "train instruct": TrainInstructConfig,
}
