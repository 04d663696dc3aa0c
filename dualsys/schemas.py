"""The typed shape of every command's configuration; the values live in conf/ (YAML).

Those of training and scoring stand in `dualsys.learning.schemas`.

A misspelt key or a value of another type is refused by these types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from dualsys.learning.schemas import (
    DistillConfig,
    ScoreConfig,
    TrainExitsConfig,
    TrainGateConfig,
    TrainHeadsConfig,
    TrainInstructConfig,
    TrainSystem1Config,
    TrainSystem2Config,
    TrainValueConfig,
)


@dataclass
class System1Config:
    """The reactive policy; times are rounded to control ticks."""

    # Or "onnx", what an installed package offers, FILE.py:NAME; or a peer that reads the simulator:
    # idm, sac, scripted, expert.
    driver: str = "network"
    checkpoint: str = "auto"  # a folder (of the driver's weights), or "auto": the shipped one
    replan_s: float = MISSING
    blend_s: float = MISSING
    max_guidance_age_s: float = MISSING
    phase_limit_s: float = MISSING
    noise_scale: float = MISSING
    told_ticks: int = MISSING  # of the commands carried out before a pass can act, so many are told
    samples: int = MISSING  # flows over one encoding; their spread is a part of the uncertainty
    spread_weight: float = MISSING
    cascade: bool = True  # go on from System 2's candidate; false carries it out as it is
    depth: str = "own"  # of the flow: as trained, or fixed, unsure, time
    depth_steps: list[int] = field(default_factory=lambda: [1, 2, 4, 10])  # to choose among ...
    depth_layers: list[int] = field(default_factory=list)  # ... with so many blocks; empty: all
    depth_thresholds: list[float] = field(default_factory=list)  # unsure: entropies between [nat]
    depth_margin_ms: float = 2.0  # time: left of the tick for what comes after the flow


@dataclass
class PeerNamesConfig:
    """What another stack calls what is ours; what is empty is its protocol's own name."""

    images: Any = None  # {camera: key}; "*": every other camera
    state: Any = None  # {key: [our axes, in its order]}
    action: Any = None
    prompt: str = ""  # the key of the instruction
    version: str = "n1.7"  # gr00t: n1.5, n1.6 or n1.7


@dataclass
class System2Config:
    """The planner; what follows the budget belongs to those that look at pictures."""

    name: str = MISSING
    budget: str = "short"  # "none" (the plan at once), "short" or "full"
    checkpoint: str = "auto"  # a local folder, or "auto": the shipped one of the world's domain
    threads: int = 1
    device: str = "auto"  # where the local model runs; "auto": a GPU when there is one
    engine: list[str] = field(default_factory=lambda: ["torch"])  # the first usable reads, proposes
    candidates: int = 5
    choice: str = "value"
    send_code: bool = True
    code_levels: int | None = None
    code_entries: int | None = None
    prompts: bool = True
    votes: int = 3
    majority: int = 2
    value_gap: float | None = None
    url: str = ""  # remote: an OpenAI-compatible endpoint, up to /v1
    model: str = ""  # remote: the name under which the model is served
    deadline_s: float = 2.0  # remote: no guidance when there is no answer by then
    max_tokens: int = 200  # remote: length of an answer
    key_variable: str = ""  # remote: the environment variable that holds the key, if one is needed
    planner: str = ""  # own: a name that an installed package offers, or FILE.py:NAME
    scores: str = ""  # foretold: plans tried out, a file of launch/try_plans.py
    peer: PeerNamesConfig = field(default_factory=PeerNamesConfig)  # openpi, gr00t


@dataclass
class TriggerConfig:
    """When System 1 asks System 2."""

    name: str = MISSING
    period_s: float = 1.0
    rate: float = 0.02  # random, uncertainty with a calibration: calls per tick
    seed: int = 0
    threshold: float | None = None  # uncertainty: ask from here on [nat] ...
    calibration: str = ""  # ... or from where this file of `dualsys calibrate` says for `rate` ...
    hysteresis: float = 0.0  # ... until it is lower by so much
    refractory_s: float = 1.0  # least time between two calls
    max_age_s: float | None = None  # uncertainty: ask, too, when guidance is older than this
    gate: str = "auto"  # learned: folder of a gate, or "auto": the shipped one of the domain
    price: float = 0.0  # learned, oracle: what a call has to gain
    look_s: float = 0.5  # oracle: how often both ways are tried ...
    horizon_s: float = 4.0  # ... and how far
    latest_s: float | None = None  # an answer about an older observation is not used
    least_value: float | None = None  # nor one whose candidate is valued lower


@dataclass
class LatencyConfig:
    """Virtual latencies of lockstep; realtime has real ones."""

    name: str = MISSING
    system1_ticks: int = 0
    system2_ms: float = 0.0
    system2_ticks: int = 0
    system2_median_ms: float = 200.0
    system2_p99_ms: float = 600.0
    trace: str = ""
    seed: int = 0


@dataclass
class RuntimeConfig:
    """Lockstep (virtual time, bit-reproducible) or realtime (processes on the wall clock)."""

    name: str = MISSING
    duration_s: float = 0.0  # realtime: stop after this long; 0 runs every seed once
    planner_patience_s: float = 0.0  # realtime: begin without System 2 if not loaded by then
    step_patience_s: float = 0.5  # realtime: a robot's step that lasts longer hangs; the run ends
    episode_s: float = 0.0  # lockstep: cut episodes off after this long; 0 lets them end
    labels: bool = False  # lockstep: log what the expert would do at every tick


@dataclass
class EngineConfig:
    """How System 1's network runs; the first usable engine of the list is taken."""

    names: list[str] = MISSING
    threads: int = 1
    opset: int = 17  # of ONNX graphs: the newest that older deployments (TensorRT 8.5) still read


@dataclass
class ShieldConfig:
    """Limits that only the shield enforces; the box of the command is always in force."""

    max_observation_age_s: float = MISSING
    rate: bool = True  # how quickly a command changes, and how quickly that does
    workspace: bool = True  # how far what is moved may go: places, speeds
    lateral: bool = True  # acceleration to the side
    rss: bool = True  # distance to other road users


@dataclass
class LadderConfig:
    """The staleness ladder: when a rung is reached, and what System 1 may do there."""

    engage_s: float = MISSING
    gap_s: float = MISSING
    ageing_s: float = MISSING
    overdue_s: float = MISSING
    stop_s: float = MISSING
    rungs: dict[str, str] = MISSING


@dataclass
class LinkConfig:
    """Where System 1 finds System 2, and how much it may say."""

    requests: str = MISSING  # "": a socket in the run's private folder; else tcp://HOST:PORT
    bind: str = MISSING  # where System 2 listens, if that is not where it is found
    server_keys: str = MISSING  # folder of `dualsys keys`, where System 2 is
    client_keys: str = MISSING  # its folder clients/NAME, where System 1 is
    frames_per_s: float = MISSING  # from one peer, twice as many at once


@dataclass
class FaultConfig:
    """Something that is made to go wrong."""

    place: str = MISSING
    kind: str = MISSING
    begin_s: float = 0.0  # after the first tick
    end_s: float = MISSING
    seed: int = 0


@dataclass
class FaultsConfig:
    """What is made to go wrong in a realtime run."""

    declared: list[FaultConfig] = field(default_factory=list)


@dataclass
class RecorderConfig:
    """The log of a realtime run."""

    queue_mb: float = MISSING
    flush_s: float = MISSING
    part_mb: float = MISSING
    part_s: float = MISSING


@dataclass
class ProcessConfig:
    """One process of a realtime run."""

    command: list[str] = field(default_factory=list)  # {folder}: the run's; empty: our own node
    run_if: str = "always"  # or "planner": where a System 2 is configured
    restart: str = "always"  # or "on-failure", "never"
    cores: list[int] = field(default_factory=list)  # empty: any
    priority: int = 0  # SCHED_FIFO, 1 to 99; 0: the ordinary scheduler
    lock_memory: bool = False
    freeze_gc: bool = False


@dataclass
class SupervisorConfig:
    """The processes of a realtime run, and the patience with them."""

    restarts: int = MISSING
    window_s: float = MISSING
    heartbeat_s: float = MISSING
    loading_s: float = MISSING
    stop_s: float = MISSING
    processes: dict[str, ProcessConfig] = MISSING


@dataclass
class ViewGroupConfig:
    """What is opened beside a realtime run: it reads the log, no process of the run knows it."""

    name: str = MISSING
    how: str = MISSING  # "window", "browser", or "file": OUT/view.rrd; "": nothing


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
    ladder: LadderConfig = field(default_factory=LadderConfig)
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    faults: FaultsConfig = field(default_factory=FaultsConfig)
    view: ViewGroupConfig = field(default_factory=ViewGroupConfig)
    seeds: str = "0:10"
    workers: int = 1
    out: str = "runs/latest"
    videos: int = 0  # film this many episodes of every scenario


@dataclass
class ServeSystem2Config:
    """`dualsys serve system2`."""

    scenario: str | None = None  # load for this world ahead; else for that of whoever comes
    system2: System2Config = field(default_factory=System2Config)
    engine: EngineConfig = field(default_factory=EngineConfig)
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    link: LinkConfig = field(default_factory=LinkConfig)


@dataclass
class PeerConfig(PeerNamesConfig):
    """Where a server for another stack's clients listens, and what they send."""

    host: str = MISSING
    port: int = MISSING
    max_mb: float = MISSING  # of one message
    ticks_per_call: int = MISSING  # that a client carries out of each answer
    key_variable: str = MISSING  # the environment variable with the key that clients show; "": none


@dataclass
class ServePeerConfig:
    """`dualsys serve openpi` and `dualsys serve gr00t`."""

    scenario: str = MISSING  # the world that clients are in: its cameras, axes and plans
    system1: System1Config = field(default_factory=System1Config)
    system2: System2Config = field(default_factory=System2Config)
    trigger: TriggerConfig = field(default_factory=TriggerConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    shield: ShieldConfig = field(default_factory=ShieldConfig)
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    peer: PeerConfig = field(default_factory=PeerConfig)


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
class ThoughtsConfig:
    """`dualsys thoughts`."""

    run: str = MISSING  # folder of a run
    epoch: int = 0  # episode of the run, as results.json numbers them
    tick: int = -1  # tell all about the newest thought at this tick; -1 lists all thoughts
    images: str = ""  # folder for what System 2 saw; "" writes none


@dataclass
class ReportConfig:
    """`dualsys report`."""

    of: list[str] = field(default_factory=list)  # folders of runs and benchmarks, JSON files
    out: str = MISSING  # an HTML file
    episodes: int = MISSING  # in the player, per run


@dataclass
class CalibrateConfig:
    """`dualsys calibrate`."""

    runs: list[str] = field(default_factory=list)  # of System 1, on seeds of their own
    data: str = ""  # held-out demonstrations for the Laplace intervals; "": leave them out
    checkpoint: str = ""  # System 1 that is held against data
    spread_weight: float = MISSING  # of the samples' spread in the thresholds
    trigger: TriggerConfig = field(default_factory=TriggerConfig)  # whose calls are counted
    every_ticks: int = MISSING  # rows of data that are used
    out: str = MISSING  # a JSON file


@dataclass
class BenchConfig(EvalConfig):
    """`dualsys bench`: the keys of `dualsys eval` for all variants, and these."""

    table: str = MISSING  # a table of conf/tables, or a YAML file of your own
    variants: list[str] = field(default_factory=list)  # of the table; empty: all
    ray_address: str = ""  # "": worker processes here; "local" or HOST:PORT: a Ray cluster


@dataclass
class BuildConfig:
    """`dualsys build`."""

    scenario: str = MISSING  # a world of the registry: engines are built for its System 1
    system1: System1Config = field(default_factory=System1Config)
    system2: System2Config = field(default_factory=System2Config)  # vlm: engines for it as well
    engine: EngineConfig = field(default_factory=EngineConfig)  # all of the list are built
    verify: str = "quick"  # or "full": episodes in closed loop, paired with torch's, as well
    suite: str = "auto"  # full: scenarios of the episodes; "auto": those of the world's domain
    seeds: str = "auto"  # full: "auto" makes 200 episodes of them
    workers: int = 2
    out: str = MISSING  # build.json, and the episodes


@dataclass
class BenchEngineConfig:
    """`dualsys bench-engine`."""

    scenario: str = MISSING  # a world of the registry: its System 1 is timed
    system1: System1Config = field(default_factory=System1Config)
    system2: System2Config = field(default_factory=System2Config)  # vlm: its parts as well
    engine: EngineConfig = field(default_factory=EngineConfig)  # all of the list, beside torch
    threads: list[int] = MISSING  # one table for each
    samples: list[int] = MISSING  # flows over one encoding: the batch
    rounds: int = MISSING
    warm_up: int = MISSING  # rounds before those that count
    caches: str = MISSING  # cold, as a tick finds them, or warm, as in a loop of nothing else
    depth: bool = False  # instead: every effort (steps x blocks), its time and its chunk's error
    planners: list[str] = field(default_factory=list)  # of published sizes, to be timed instead
    planner_modes: list[str] = MISSING  # eager, compiled, cuda-graph, an engine
    planner_rounds: int = MISSING
    planner_device: str = "auto"
    prompt_words: int = MISSING  # tokens of text in the prompt, beside one picture
    out: str = MISSING  # engines.json and engines.png, or depth.json and .png, or planners.json


@dataclass
class ReplayConfig:
    """`dualsys replay`."""

    log: str = MISSING  # a log, or the folder of a run
    system: int = MISSING  # 1 or 2: who is fed
    tolerance: float = MISSING  # difference of an answer that passes
    engines: list[str] = field(default_factory=list)  # instead of the log's
    out: str = ""  # a JSON file


@dataclass
class ViewConfig:
    """`dualsys view`."""

    log: str = MISSING  # a log, or the folder of a run
    how: str = MISSING  # "window" or "browser"
    save: str = ""  # a file instead
    mcap: str = ""  # a copy that other MCAP tools show, instead
    epoch: int | None = None  # of one episode alone
    follow: bool = False


@dataclass
class KeysConfig:
    """`dualsys keys`."""

    clients: list[str] = field(default_factory=list)  # who is to be let in, by name
    out: str = MISSING  # a folder


@dataclass
class DoctorConfig:
    """`dualsys doctor`."""

    watch_s: float = MISSING  # how long stalls of the machine are watched for
    disk_mb: int = MISSING  # how much is written to see how fast the disk is
    out: str = MISSING  # where runs would go
    link: LinkConfig = field(default_factory=LinkConfig)  # to a System 2 elsewhere, if one is named


COMMANDS: dict[str, type[Any]] = {
    "eval": EvalConfig,
    "run": EvalConfig,
    "bench": BenchConfig,
    "build": BuildConfig,
    "bench-engine": BenchEngineConfig,
    "calibrate": CalibrateConfig,
    "report": ReportConfig,
    "doctor": DoctorConfig,
    "keys": KeysConfig,
    "serve system2": ServeSystem2Config,
    "serve openpi": ServePeerConfig,
    "serve gr00t": ServePeerConfig,
    "replay": ReplayConfig,
    "view": ViewConfig,
    "collect": CollectConfig,
    "thoughts": ThoughtsConfig,
    "score": ScoreConfig,
    "train system1": TrainSystem1Config,
    "train system2": TrainSystem2Config,
    "distill": DistillConfig,
    "train heads": TrainHeadsConfig,
    "train value": TrainValueConfig,
    "train instruct": TrainInstructConfig,
    "train gate": TrainGateConfig,
    "train exits": TrainExitsConfig,
}
