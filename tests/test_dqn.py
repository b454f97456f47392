"""DQN: what it learns, step for step as written down slowly, and as if it had never stopped."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from coinfer.errors import CoinferError
from coinfer.search.dqn import Dqn, DqnSettings
from coinfer.search.nets import Net

SMALL = DqnSettings(state_size=3, actions=4, buffer_size=6, hidden=(8, 5), batch=4, target_every=3)

# A corridor of six places: left or right; a little at the left end, more at the right one. From
# everywhere, going right is worth more, by 0.9 to the power of the way.
PLACES, START, LEFT, RIGHT = 6, 2, 0.1, 1.0
CORRIDOR = DqnSettings(PLACES, 2, hidden=(24,), lr=3e-3, batch=32, epsilon_episodes=40)


def here(place: int) -> np.ndarray:
    return np.eye(PLACES)[place]


def walk(agent: Dqn, episodes: int) -> None:
    for _ in range(episodes):
        place = START
        for _ in range(20):
            action = agent.explore(here(place))
            ahead = place + (1 if action else -1)
            ended = ahead in (0, PLACES - 1)
            reward = (RIGHT if ahead else LEFT) if ended else 0.0
            agent.remember(here(place), action, reward, None if ended else here(ahead))
            agent.update()
            if ended:
                break
            place = ahead
        agent.end_episode()


def test_it_finds_the_way_to_the_larger_reward() -> None:
    worth = [RIGHT * CORRIDOR.discount ** (PLACES - 2 - place) for place in range(1, PLACES - 1)]
    found = 0
    for seed in range(10):
        agent = Dqn(CORRIDOR, np.random.default_rng(seed))
        walk(agent, 80)
        right = all(agent.act(here(place)) for place in range(1, PLACES - 1))
        values = [agent.values(here(place)).max() for place in range(1, PLACES - 1)]
        found += right and bool(np.allclose(values, worth, atol=0.1))
    assert found >= 8


def draw_steps(rng: np.random.Generator, count: int) -> list[tuple]:
    """Steps of no world in particular; every third is the last of its episode."""
    return [
        (
            *(rng.random(3), int(rng.integers(4)), float(rng.normal())),
            None if step % 3 == 2 else rng.random(3),
        )
        for step in range(count)
    ]


def plain_network(parameters: torch.Tensor) -> nn.Sequential:
    """The same network by torch's own layers, from the parameters in a row."""
    layers: list[nn.Module] = []
    place = 0
    for fan_in, fan_out in pairwise((3, 8, 5, 4)):
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            for own in (layer.weight, layer.bias):
                own.copy_(parameters[place : place + own.numel()].view_as(own))
                place += own.numel()
        layers += [layer, nn.ReLU()]
    assert place == len(parameters)
    return nn.Sequential(*layers[:-1])


def test_updates_are_those_written_down_one_by_one() -> None:
    """Replay, targets, gradient (torch's own), Adam as its authors print it, and new targets."""
    agent = Dqn(SMALL, np.random.default_rng(3))
    net, target = (plain_network(agent.state()[name]) for name in ("net", "target"))
    moments = [torch.zeros(2, *own.shape) for own in net.parameters()]
    draws = np.random.default_rng(0)
    draws.bit_generator.state = agent.state()["rng"]
    memory: list[tuple] = []
    for number, step in enumerate(draw_steps(np.random.default_rng(5), 14), 1):
        agent.remember(*step)
        agent.update()

        if len(memory) < SMALL.buffer_size:
            memory.append(step)
        else:
            memory[(number - 1) % SMALL.buffer_size] = step
        count = min(len(memory), SMALL.batch)
        batch = [memory[n] for n in draws.choice(len(memory), count, replace=False)]
        loss = torch.zeros(())
        for state, action, reward, following in batch:
            y = reward
            if following is not None:
                with torch.no_grad():
                    y += SMALL.discount * float(target(torch.tensor(following).float()).max())
            loss = loss + (y - net(torch.tensor(state).float())[action]) ** 2 / count
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for own, (mean, square) in zip(net.parameters(), moments, strict=True):
                assert own.grad is not None
                mean.copy_(0.9 * mean + 0.1 * own.grad)
                square.copy_(0.999 * square + 0.001 * own.grad**2)
                step_back = mean / (1 - 0.9**number)
                own -= SMALL.lr * step_back / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
        if number % SMALL.target_every == 0:
            target.load_state_dict(net.state_dict())

        for name, plain in (("net", net), ("target", target)):
            written = torch.cat([own.detach().flatten() for own in plain.parameters()])
            assert torch.allclose(agent.state()[name], written, rtol=1e-4, atol=1e-6)
    assert not torch.equal(agent.state()["net"], agent.state()["target"])


def test_actions_become_greedy() -> None:
    settings = DqnSettings(3, 4, hidden=(8,), epsilon_episodes=10, epsilon_end=0.2)
    agent = Dqn(settings, np.random.default_rng(0))
    state = np.array([0.1, 0.5, 0.9])
    shares = []
    for _ in range(13):
        shares.append(agent.epsilon)
        agent.end_episode()
    assert shares == pytest.approx([*np.linspace(1.0, 0.2, 11), 0.2, 0.2])
    best = agent.act(state)
    assert best == int(agent.values(state).argmax())
    chosen = [agent.explore(state) for _ in range(4_000)]
    # The best action in four of five, and the others alike.
    expected = [0.2 / 4 + 0.8 * (action == best) for action in range(4)]
    assert np.bincount(chosen, minlength=4) / len(chosen) == pytest.approx(expected, abs=0.02)
    at_once = Dqn(DqnSettings(3, 4, hidden=(8,), epsilon_episodes=0), np.random.default_rng(0))
    assert at_once.epsilon == at_once.settings.epsilon_end


def test_a_restored_agent_goes_on_as_if_it_had_never_stopped() -> None:
    steps = draw_steps(np.random.default_rng(5), 16)

    def go_on(agent: Dqn, some: list[tuple]) -> list[int]:
        chosen = []
        for step in some:
            chosen.append(agent.explore(step[0]))
            agent.remember(*step)
            agent.update()
            agent.end_episode()
        return chosen

    whole = Dqn(SMALL, np.random.default_rng(3))
    go_on(whole, steps[:9])
    file = io.BytesIO()
    torch.save(whole.state(), file)
    rest = go_on(whole, steps[9:])

    other = Dqn(SMALL, np.random.default_rng(99))
    file.seek(0)
    other.restore(torch.load(file, weights_only=True))
    assert go_on(other, steps[9:]) == rest
    ends = whole.state(), other.state()
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        same = ends[1][name]
        assert torch.equal(value, same) if isinstance(value, torch.Tensor) else value == same


def test_numbers_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    agents = [Dqn(CORRIDOR, np.random.default_rng(seed)) for seed in (7, 7, 8)]
    for agent in agents:
        walk(agent, 3)
    first, again, other = (agent.state()["net"] for agent in agents)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_networks_outputs_and_slopes_are_torchs() -> None:
    net = Net.drawn((3, 8, 5, 4), np.random.default_rng(0))
    net.parameters.mul_(3.0)  # so that the last layer matters
    plain = plain_network(net.parameters)
    rows = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 3))).float()
    mine = rows.clone().requires_grad_()
    reads, made = net.forward(rows)
    (plain(mine) ** 2).sum().backward()
    gradient = Net(net.sizes, torch.zeros_like(net.parameters))
    by_rows = net.backward(reads, 2 * made, gradient)
    assert mine.grad is not None
    assert torch.allclose(by_rows, mine.grad, rtol=1e-4, atol=1e-6)
    written = torch.cat([own.grad.flatten() for own in plain.parameters() if own.grad is not None])
    assert torch.allclose(gradient.parameters, written, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"actions": 0}, "actions"),
        ({"state_size": 0}, "state_size"),
        ({"batch": 1.5}, "batch"),
        ({"hidden": (0,)}, "hidden"),
        ({"lr": 0.0}, "lr"),
        ({"discount": 1.1}, "discount"),
        ({"epsilon": -0.1}, "epsilon"),
        ({"epsilon_episodes": -1}, "epsilon_episodes"),
        ({"target_every": 0}, "target_every"),
    ],
)
def test_numbers_that_are_none_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(CoinferError, match=told):
        DqnSettings(**({"state_size": 3, "actions": 4} | wrong))


def test_steps_and_states_that_are_none_are_refused() -> None:
    agent = Dqn(SMALL, np.random.default_rng(0))
    good = np.zeros(3)
    with pytest.raises(CoinferError, match="needs a remembered step"):
        agent.update()
    for state in (np.zeros(2), np.full(3, np.nan)):
        for ask in (agent.act, agent.explore, agent.values):
            with pytest.raises(CoinferError, match="accepted: 3 finite numbers"):
                ask(state)
        with pytest.raises(CoinferError, match="accepted: 3 finite numbers"):
            agent.remember(good, 0, 1.0, state)
    with pytest.raises(CoinferError, match="an action is 4"):
        agent.remember(good, 4, 1.0, None)
    with pytest.raises(CoinferError, match="a reward is inf"):
        agent.remember(good, 0, np.inf, None)
    saved = agent.state()
    other = Dqn(DqnSettings(state_size=3, actions=5, hidden=(8, 5)), np.random.default_rng(0))
    with pytest.raises(CoinferError, match="no 'net' of shape"):
        other.restore(saved)
    with pytest.raises(CoinferError, match="state is damaged"):
        agent.restore({name: value for name, value in saved.items() if name != "rng"})
