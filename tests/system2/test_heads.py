from __future__ import annotations

import dataclasses

import pytest
import torch

from dualsys.errors import DualsysError
from dualsys.system2.heads import Bottleneck, Heads
from dualsys.system2.sizes import HeadsConfig

CONFIG = HeadsConfig(text_width=24, state_size=3, action_size=2, plans=4, stride_ticks=1, knots=8,
                     width=16, layers=1, heads=2, read_tokens=4)  # fmt: skip


@pytest.fixture(scope="module")
def heads() -> Heads:
    torch.manual_seed(0)
    made = Heads(CONFIG).eval()
    for parameter in (made.candidates.out.weight, made.value.value):
        torch.nn.init.normal_(parameter, std=0.5)  # they start at zero: let inputs show
    return made


def tokens(heads: Heads, batch: int = 2, length: int = 7) -> torch.Tensor:
    torch.manual_seed(1)
    hidden = torch.randn(batch, length, 24)
    mask = torch.ones(batch, length, dtype=torch.bool)
    return heads.readout(hidden, mask, torch.randn(batch, 3), torch.eye(4)[:batch])


def test_padding_changes_nothing(heads: Heads) -> None:
    torch.manual_seed(1)
    hidden, state, plan = torch.randn(1, 5, 24), torch.randn(1, 3), torch.eye(4)[:1]
    mask = torch.ones(1, 5, dtype=torch.bool)
    padded = torch.cat([torch.full((1, 3, 24), 9.0), hidden], 1)
    wider = torch.cat([torch.zeros(1, 3, dtype=torch.bool), mask], 1)
    torch.testing.assert_close(
        heads.readout(hidden, mask, state, plan), heads.readout(padded, wider, state, plan)
    )


def test_a_proposal_is_read_by_all_heads_but_the_bottleneck() -> None:
    torch.manual_seed(0)
    heads = Heads(dataclasses.replace(CONFIG, proposal_ticks=5)).eval()
    assert heads.readout.proposal_in is not None
    told = heads.readout.proposal_in[2].weight
    for parameter in (heads.candidates.out.weight, heads.value.value, told):
        torch.nn.init.normal_(parameter, std=0.5)  # they start at zero: let inputs show
    given = (torch.randn(1, 7, 24), torch.ones(1, 7, dtype=torch.bool), torch.randn(1, 3),
             torch.eye(4)[:1])  # fmt: skip
    none, zeros, one, two = (
        heads.readout(*given, proposal)
        for proposal in (None, torch.zeros(1, 5, 2), torch.ones(1, 5, 2), -torch.ones(1, 5, 2))
    )
    assert none.shape == (1, CONFIG.read_tokens + 3, CONFIG.width)
    torch.testing.assert_close(none, zeros)
    noise, chunk = torch.randn(1, 8, 2), torch.randn(1, 1, 8, 2)
    for first, second in ((one, two), (one, none)):
        assert not torch.allclose(
            heads.candidates.ladder(noise, first, 1), heads.candidates.ladder(noise, second, 1)
        )
        assert not torch.allclose(heads.value(first, chunk), heads.value(second, chunk))
        assert torch.equal(heads.bottleneck(first), heads.bottleneck(second))


def test_the_ladder_is_one_flow_stopped_at_several_depths(heads: Heads) -> None:
    noise, read = torch.randn(2, 8, 2), tokens(heads)
    five = heads.candidates.ladder(noise, read, 5)
    assert five.shape == (2, 5, 8, 2)
    torch.testing.assert_close(five[:, :1], heads.candidates.ladder(noise, read, 1))
    cached = heads.candidates.cache(read)
    x = noise
    for step in range(6):  # tau 0.6 is the fifth candidate's depth
        x = x + heads.candidates.velocity(x, torch.full((2,), step / 10), cached) / 10
    torch.testing.assert_close(five[:, 4], x)
    gaps = (five - five[:, :1]).abs().amax((0, 2, 3))
    assert (gaps.diff() > 0).all(), "the earlier the flow stops, the more it differs"


def test_the_flow_is_integrated_once_whatever_the_number_of_candidates(
    heads: Heads, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    inner = heads.candidates.velocity
    monkeypatch.setattr(
        heads.candidates, "velocity", lambda *given: (calls.append(1), inner(*given))[1]
    )
    heads.candidates.ladder(torch.randn(2, 8, 2), tokens(heads), 5)
    assert len(calls) == CONFIG.flow_steps


def test_a_ladder_that_does_not_fit_says_so(heads: Heads) -> None:
    noise, read = torch.randn(1, 8, 2), tokens(heads, 1)
    for count in (11, 12):  # the eleventh would be the noise itself
        with pytest.raises(DualsysError, match=rf"{count} candidates do not fit .* 10 or fewer"):
            heads.candidates.ladder(noise, read, count)
    assert heads.candidates.ladder(noise, read, 10).shape == (1, 10, 8, 2)


def test_depths_that_repeat_are_refused() -> None:
    assert CONFIG.depths(5) == [10, 9, 8, 7, 6]
    narrow = dataclasses.replace(CONFIG, depth_step=0.06)
    assert narrow.depths(2) == [10, 9]
    with pytest.raises(DualsysError, match=r"stops 0\.06 earlier; take 2 or fewer"):
        narrow.depths(3)


def test_values_depend_on_the_whole_chunk_and_candidates_do_not_mix(heads: Heads) -> None:
    read, chunks = tokens(heads), torch.randn(2, 3, 8, 2)
    values = heads.value(read, chunks)
    assert values.shape == (2, 3, 2)
    torch.testing.assert_close(values[:, 1:2], heads.value(read, chunks[:, 1:2]))
    for knot in (0, 7):
        changed = chunks.clone()
        changed[:, 0, knot] += 1
        moved = (heads.value(read, changed) - values).abs()
        assert (moved[:, 0] > 1e-6).all()
        torch.testing.assert_close(moved[:, 1:], torch.zeros(2, 2, 2))


def test_the_code_takes_its_levels_and_no_other_value(heads: Heads) -> None:
    bottleneck = Bottleneck(CONFIG)
    code = bottleneck(torch.randn(500, 6, 16) * 5)
    levels = torch.unique((code * 1e4).round() / 1e4)
    torch.testing.assert_close(levels, torch.tensor([-1.0, -1 / 3, 1 / 3, 1.0]), atol=1e-4, rtol=0)
    assert bottleneck.bits == 16.0
    code.sum().backward()
    assert bottleneck.down.weight.grad is not None
    assert bottleneck.down.weight.grad.abs().sum() > 0, "gradients pass the rounding"
