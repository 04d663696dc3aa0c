"""System 1's timing in control ticks, made from seconds for any control rate."""

from __future__ import annotations

import math

import msgspec

from dualsys.errors import DualsysError


class PolicyConfig(msgspec.Struct, frozen=True):
    """Timing of System 1, in control ticks, and what it asks for."""

    replan_ticks: int = 8
    blend_ticks: int = 2
    max_guidance_age_ticks: int = 400  # older guidance has expired: System 1 alone
    phase_limit_s: float = 2.0  # training showed no older plan: the phase stamp stops here
    noise_scale: float = 1.0  # standard deviation of the source of the flow that is carried out
    spread_weight: float = 1.0  # of the samples' spread in the uncertainty
    cascade: bool = True  # go on from System 2's candidate; False carries it out as it is
    commit_ticks: int = 1  # ticks until a new chunk takes effect: so far the running one is kept
    told_ticks: int = 1  # of those, how many the network is told
    budget: str = "short"  # of the thinking that a request asks for

    @classmethod
    def in_seconds(
        cls,
        rate_hz: float,
        replan_s: float,
        blend_s: float,
        max_guidance_age_s: float,
        phase_limit_s: float,
        noise_scale: float,
        spread_weight: float = 1.0,
        cascade: bool = True,
        commit_ticks: int = 1,
        budget: str = "short",
        told_ticks: int = 1,
    ) -> PolicyConfig:
        """The same timing for any control rate; raises `DualsysError` for a negative time."""
        for name, value in (
            ("replan_s", replan_s),
            ("blend_s", blend_s),
            ("max_guidance_age_s", max_guidance_age_s),
            ("phase_limit_s", phase_limit_s),
            ("noise_scale", noise_scale),
            ("spread_weight", spread_weight),
            ("told_ticks", told_ticks),
        ):
            if not 0 <= value < math.inf:
                raise DualsysError(f"system1.{name} must be zero or more, it is {value}")
        return cls(
            max(1, round(replan_s * rate_hz)),
            round(blend_s * rate_hz),
            round(max_guidance_age_s * rate_hz),
            phase_limit_s,
            noise_scale,
            spread_weight,
            cascade,
            commit_ticks,
            told_ticks,
            budget,
        )
