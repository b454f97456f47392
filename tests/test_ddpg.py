"""The DDPG agent learns, equals its slow literal reference, and goes on where it stopped."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm  # type: ignore[import-untyped]

from coinfer.errors import CoinferError
from coinfer.search.ddpg import (
    Ddpg,
    DdpgSettings,
    Transition,
    min_max,
    truncated_normal,
)
from coinfer.search.nets import one_thread
from tests.literal_ddpg import LiteralAgent, parameters

SMALL = DdpgSettings(state_size=3, buffer_size=12, warmup_episodes=1, hidden=(8, 7), batch=5)


def played(agent: Ddpg | LiteralAgent, episodes: int, done: int = 0) -> Iterator[list[Any]]:
    """Play episodes of three steps whose states and rewards are random; yield their steps."""
    world = np.random.default_rng(5)
    for number in range(episodes):
        states = world.random((3, 3)).astype(np.float32).tolist()
        reward = float(np.float32(world.random()))
        if number < done:
            continue
        actions = [agent.explore(state) for state in states]
        steps = list(zip(states, actions, [reward] * 3, [*states[1:], None], strict=True))
        for step in steps:
            if isinstance(agent, Ddpg):
                agent.remember([Transition(*step)])
            else:
                agent.store(step)
            agent.update()
        if isinstance(agent, Ddpg):
            agent.end_episode()
        else:
            agent.episode += 1
        yield steps


def told(agent: Ddpg) -> dict[str, Any]:
    """An agent's state as plain data."""
    return {
        name: value.tolist() if isinstance(value, torch.Tensor) else value
        for name, value in agent.state().items()
    }


# -- what it learns -------------------------------------------------------------------------------


def two_steps(first: float, second: float) -> float:
    """A reward of 1 at (0.3, 0.65) and nowhere else; what is best second depends on the first."""
    return max(0.0, 1 - 3 * (first - 0.3) ** 2 - 3 * (second - (0.8 - 0.5 * first)) ** 2)


def learnt(seed: int, episodes: int) -> float:
    """The reward of the actor's own actions, unexplored, after so many episodes."""
    settings = DdpgSettings(state_size=2, buffer_size=200, warmup_episodes=67, hidden=(64, 64))
    agent = Ddpg(settings, np.random.default_rng(seed))
    start = [0.0, 1.0]
    for _ in range(episodes):
        first = agent.explore(start)
        behind = [1.0, first]
        second = agent.explore(behind)
        reward = two_steps(first, second)
        steps = Transition(start, first, reward, behind), Transition(behind, second, reward, None)
        for step in steps:
            agent.remember([step])
            agent.update()
        agent.end_episode()
    first = agent.act(start)
    return two_steps(first, agent.act([1.0, first]))


def test_it_finds_a_known_optimum_within_the_published_episodes() -> None:
    rewards = [learnt(seed, 1100) for seed in range(10)]
    assert sum(reward >= 0.95 for reward in rewards) >= 8, rewards
    # Nothing but learning does that: neither the start nor chance.
    assert max(learnt(seed, 67) for seed in range(10)) < 0.95
    uniform = np.random.default_rng(0).random((2000, 2))
    assert np.mean([two_steps(*actions) >= 0.95 for actions in uniform]) < 0.1


# -- the literal reference ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        replace(SMALL, baseline_decay=None, discount=0.9, tau=0.3),
        replace(SMALL, actor_lr=0.01, critic_lr=0.02, sigma=0.2, sigma_decay=0.8, hidden=(6,)),
    ],
)
def test_every_step_is_that_of_the_paper(settings: DdpgSettings) -> None:
    """Actions, targets, both losses, Adam, soft updates and the moving average, step for step."""
    agent = Ddpg(settings, np.random.default_rng(3))
    literal = LiteralAgent(settings, np.random.default_rng(3))
    rounds = zip(played(agent, 8), played(literal, 8), strict=True)
    for ours, theirs in rounds:
        np.testing.assert_allclose(
            [step[1] for step in ours], [step[1] for step in theirs], atol=1e-5
        )
        state = told(agent)
        for name, net in (
            *(("actor", literal.mu), ("critic", literal.q)),
            *(("actor_target", literal.mu_target), ("critic_target", literal.q_target)),
        ):
            np.testing.assert_allclose(state[name], parameters(net), rtol=1e-4, atol=2e-6)
    assert (agent.baseline is None) == (settings.baseline_decay is None)
    assert agent.baseline == (literal.b if literal.b is None else pytest.approx(literal.b))
    # It did learn: every network left its start.
    start = told(Ddpg(settings, np.random.default_rng(3)))
    for name in ("actor", "critic", "actor_target", "critic_target"):
        assert np.abs(np.subtract(start[name], told(agent)[name])).max() > 1e-4


# -- exploration ----------------------------------------------------------------------------------


def test_exploration_is_uniform_then_a_narrowing_truncated_normal() -> None:
    settings = replace(SMALL, warmup_episodes=2, sigma=0.4, sigma_decay=0.5)
    agent = Ddpg(settings, np.random.default_rng(1))
    state = [0.2, 0.4, 0.6]
    agent.remember([Transition(state, 0.5, 1.0, None)])
    shares = np.random.default_rng(1)  # the agent's numbers: its weights, then one per action
    for fan_in, fan_out in ((3, 8), (8, 7), (7, 1), (4, 8), (8, 7), (7, 1)):
        shares.random((fan_in + 1) * fan_out)
    for episode in range(5):
        assert agent.warming_up == (episode < 2)
        share = 1 - shares.random()
        expected = share
        if episode >= 2:
            sigma = 0.4 * 0.5 ** (episode - 2)
            assert agent.sigma == pytest.approx(sigma)
            mean = agent.act(state)
            ends = (0 - mean) / sigma, (1 - mean) / sigma
            expected = truncnorm.ppf(share, *ends, loc=mean, scale=sigma)
        assert agent.explore(state) == pytest.approx(expected, rel=1e-6)
        agent.end_episode()


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 0.5), (1.0, 0.5), (0.3, 0.01), (0.9, 1e-25)])
def test_truncated_normal_is_scipys_and_stays_inside(mean: float, sigma: float) -> None:
    shares = np.linspace(1e-3, 1, 50)
    drawn = [truncated_normal(mean, sigma, share) for share in shares]
    ends = (0 - mean) / sigma, (1 - mean) / sigma
    expected = truncnorm.ppf(shares, *ends, loc=mean, scale=sigma)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6, atol=1e-12)
    assert all(0 <= value <= 1 for value in drawn)
    assert truncated_normal(mean, 0.0, 0.7) == mean


def test_actions_are_never_zero() -> None:
    agent = Ddpg(replace(SMALL, warmup_episodes=0, sigma=50.0), np.random.default_rng(0))
    actions = [agent.explore([0.0, 0.0, 0.0]) for _ in range(500)]
    assert 0 < min(actions) < 0.02
    assert 0.98 < max(actions) <= 1


# -- memory, seeds and states ---------------------------------------------------------------------


def test_the_memory_holds_the_last_steps() -> None:
    agent = Ddpg(replace(SMALL, buffer_size=3), np.random.default_rng(0))
    agent.remember(Transition([k, 0, 0], 0.5, k / 8, [k + 1, 0, 0]) for k in range(4))
    agent.remember([Transition([4, 0, 0], 0.5, 0.5, None)])
    rows = agent.state()["memory"].tolist()
    assert rows == [
        [3, 0, 0, 0.5, 0.375, 4, 0, 0, 1],
        [4, 0, 0, 0.5, 0.5, 0, 0, 0, 0],
        [2, 0, 0, 0.5, 0.25, 3, 0, 0, 1],
    ]


def test_a_seed_decides_everything_and_torchs_generator_stays() -> None:
    before = torch.get_rng_state()
    agents = [Ddpg(SMALL, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for agent in agents:
        for _ in played(agent, 4):
            pass
    one, same, other = map(told, agents)
    assert one == same
    assert one["actor"] != other["actor"]
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_change_no_bit_and_are_put_back() -> None:
    settings = DdpgSettings(state_size=3, buffer_size=128, warmup_episodes=1)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            agent = Ddpg(settings, np.random.default_rng(0))
            for _ in played(agent, 25):
                pass
            found.append(told(agent))
            with one_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_an_agent_goes_on_where_it_stopped_bit_for_bit(stop: int) -> None:
    whole = Ddpg(SMALL, np.random.default_rng(1))
    for _ in played(whole, 6):
        pass

    halted = Ddpg(SMALL, np.random.default_rng(1))
    rounds = played(halted, 6)
    for _ in range(stop):
        next(rounds)
    file = io.BytesIO()
    torch.save(halted.state(), file)
    taken = halted.state()
    for _ in rounds:  # what the first one does later does not change what was taken
        pass
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert {n: str(v) for n, v in saved.items()} == {n: str(v) for n, v in taken.items()}

    resumed = Ddpg(SMALL, np.random.default_rng(99))
    resumed.restore(saved)
    for _ in played(resumed, 6, done=stop):
        pass
    assert told(resumed) == told(whole)


def test_what_is_no_state_of_such_an_agent_is_refused() -> None:
    agent = Ddpg(SMALL, np.random.default_rng(0))
    state = agent.state()
    with pytest.raises(CoinferError, match=r"no 'actor' of shape \(103,\)"):
        agent.restore({**state, "actor": state["actor"][:-1]})
    with pytest.raises(CoinferError, match="no 'memory' of shape"):
        agent.restore({name: value for name, value in state.items() if name != "memory"})
    for wrong in ({"episode": None}, {"rng": {"bit_generator": "MT19937"}}, {"remembered": "x"}):
        with pytest.raises(CoinferError, match="damaged"):
            agent.restore({**state, **wrong})


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        *({"state_size": 0}, {"buffer_size": 0}, {"batch": 2.5}, {"warmup_episodes": -1}),
        *({"hidden": ()}, {"hidden": (8, 0)}, {"actor_lr": 0.0}, {"critic_lr": float("inf")}),
        *({"tau": 1.5}, {"discount": -0.1}, {"sigma": -1.0}, {"sigma_decay": 1.1}),
        {"baseline_decay": float("nan")},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(CoinferError, match=f"^{name} is .*allowed is"):
        replace(SMALL, **wrong)


def test_states_and_steps_that_cannot_be_are_refused() -> None:
    agent = Ddpg(SMALL, np.random.default_rng(0))
    for state in ([0.1, 0.2], [0.1, 0.2, float("nan")], [[0.1, 0.2, 0.3]]):
        for ask in (agent.act, agent.explore):
            with pytest.raises(CoinferError, match="accepted: 3 finite numbers"):
                ask(state)
        with pytest.raises(CoinferError, match="accepted: 3 finite numbers"):
            agent.remember([Transition([0, 0, 0], 0.5, 0.0, state)])
    with pytest.raises(CoinferError, match="reward inf; accepted are finite numbers"):
        agent.remember([Transition([0, 0, 0], 0.5, float("inf"), None)])
    agent.end_episode()
    with pytest.raises(CoinferError, match="needs a remembered step"):
        agent.update()


def test_min_max_scales_to_0_and_1_and_leaves_nothing_of_an_empty_range() -> None:
    scaled = min_max([[1, 5, 7], [3, 5, 9]], [1, 5, 8], [3, 5, 9])
    assert scaled.tolist() == [[0, 0, 0], [1, 0, 1]]
