from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualsys.errors import UnknownNameError
from dualsys.learning.joined import open_datasets
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.scene_targets import motion_fields, scene_targets
from dualsys.system2.traffic import TrafficRule
from sim.driving.spec import SPEC
from sim.manipulation.metaworld import SPEC as ARM


def test_the_rules_name_one_plan_for_one_scene(drives: Path) -> None:
    dataset = open_datasets(str(drives))
    recorded = dataset.plan.copy()
    label_plans(dataset, "recorded", np.arange(len(recorded)))
    np.testing.assert_array_equal(dataset.plan, recorded)
    rows = np.arange(0, len(recorded), 3)
    label_plans(dataset, "rules", rows)
    rule = TrafficRule(SPEC)
    for row in rows:
        scene = dataset.scene[row].reshape(SPEC.scene_rows, -1)
        assert SPEC.plans[dataset.plan[row]] == rule.judge(dataset.state[row], scene)[0]
    others = np.setdiff1d(np.arange(len(recorded)), rows)
    np.testing.assert_array_equal(dataset.plan[others], recorded[others])
    with pytest.raises(UnknownNameError, match="rules"):
        label_plans(dataset, "guesses", rows)


def test_scene_targets_are_of_unit_spread_where_something_is(drives: Path) -> None:
    dataset = open_datasets(str(drives))
    targets, mask = scene_targets(dataset, motion_fields(SPEC))
    assert targets.shape == mask.shape == (len(dataset.state), len(motion_fields(SPEC)))
    first = targets[:, 0][mask[:, 0] > 0]
    assert first.mean() == pytest.approx(0.0, abs=1e-3)
    assert first.std() == pytest.approx(1.0, abs=1e-2)
    scene = dataset.scene.reshape(len(targets), SPEC.scene_rows, -1)
    ahead = scene[:, 0, SPEC.scene_fields.index("ahead_m")][mask[:, 0] > 0]
    assert np.corrcoef(ahead, first)[0, 1] == pytest.approx(1.0, abs=1e-4)


def test_sizes_of_things_are_no_motion() -> None:
    names = {SPEC.scene_fields[field] for _, field in motion_fields(SPEC)}
    assert names == {"ahead_m", "left_m", "ahead_mps", "left_mps", "gap_m"}
    assert {ARM.scene_fields[field] for _, field in motion_fields(ARM)} == {"x_m", "y_m", "z_m"}
