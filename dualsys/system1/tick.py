"""One answer of System 1: what the shells take from a policy, whoever wrote it."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from dualsys.messages import Action, Guidance, Observation, PlanRequest
from dualsys.system1.uncertainty import Uncertainty


class Provenance(msgspec.Struct, frozen=True):
    """Where the commands of a tick come from."""

    chunk_tick: int
    guidance_sequence: int
    guidance_age_ticks: int
    replanned: bool


class Tick(msgspec.Struct, frozen=True):
    """One answer of System 1."""

    action: Action
    uncertainty: Uncertainty
    request: PlanRequest | None
    provenance: Provenance

    @classmethod
    def of_commands(
        cls,
        observation: Observation,
        commands: np.ndarray,
        now_ns: int,
        uncertainty: float = math.nan,
        guidance: Guidance | None = None,
    ) -> Tick:
        """An answer that was worked out anew for this tick, and asks nobody.

        commands: (T, A) for the observation's tick and those after it, in units of
        `WorldSpec.action`. uncertainty: a number that rises with doubt, nan where it is not known.
        guidance: what the answer took into account, None without any.
        """
        stamp, uncertainty = observation.stamp, float(uncertainty)
        age = -1 if guidance is None else stamp.tick - guidance.stamp.tick
        sequence = -1 if guidance is None else guidance.stamp.sequence
        action = Action(
            stamp=msgspec.structs.replace(stamp, time_ns=now_ns),
            first_tick=stamp.tick,
            commands=np.asarray(commands, np.float32),
            observation_ns=stamp.time_ns,
            uncertainty=uncertainty,
            chunk_tick=stamp.tick,
            guidance_sequence=sequence,
            guidance_age_ticks=age,
            compute_ns=0,
        )
        told = Provenance(stamp.tick, sequence, age, replanned=True)
        return cls(action, Uncertainty(total=uncertainty), None, told)
