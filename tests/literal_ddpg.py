"""DDPG as Zhang et al. 2021 write it (Algorithm 1, eq. 3), slowly: torch's own layers, gradients
and Adam, one transition at a time. It draws in the order of `coinfer.search.ddpg`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import truncnorm  # type: ignore[import-untyped]
from torch import nn

from coinfer.search.ddpg import DdpgSettings

Step = tuple[Sequence[float], float, float, Sequence[float] | None]


def network(inputs: int, hidden: Sequence[int], rng: np.random.Generator) -> nn.Sequential:
    """Linear layers with ReLU between them; weights within 1/sqrt(fan in), the last within 3e-3."""
    layers: list[nn.Module] = []
    widths = [inputs, *hidden, 1]
    for place in range(len(widths) - 1):
        fan_in, fan_out = widths[place], widths[place + 1]
        last = place == len(widths) - 2
        most = 3e-3 if last else 1 / math.sqrt(fan_in)
        drawn = torch.tensor(rng.uniform(-most, most, (fan_in + 1) * fan_out), dtype=torch.float32)
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            layer.weight.copy_(drawn[: fan_in * fan_out].reshape(fan_out, fan_in))
            layer.bias.copy_(drawn[fan_in * fan_out :])
        layers.append(layer)
        if not last:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def parameters(net: nn.Sequential) -> list[float]:
    """All parameters, layer by layer: weights, then biases."""
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()]).tolist()


class LiteralAgent:
    """The agent of the paper."""

    def __init__(self, settings: DdpgSettings, rng: np.random.Generator) -> None:
        self.settings, self.rng = settings, rng
        self.mu = network(settings.state_size, settings.hidden, rng)
        self.q = network(settings.state_size + 1, settings.hidden, rng)
        self.mu_target, self.q_target = copy.deepcopy(self.mu), copy.deepcopy(self.q)
        self.adam_mu = torch.optim.Adam(self.mu.parameters(), settings.actor_lr)
        self.adam_q = torch.optim.Adam(self.q.parameters(), settings.critic_lr)
        self.buffer: list[Step | None] = [None] * settings.buffer_size
        self.stored = 0
        self.episode = 0
        self.b: float | None = None

    def action(self, net: nn.Sequential, state: Any) -> torch.Tensor:
        return torch.sigmoid(net(torch.as_tensor(state, dtype=torch.float32)))

    def value(self, net: nn.Sequential, state: Any, action: torch.Tensor) -> torch.Tensor:
        return net(torch.cat([torch.as_tensor(state, dtype=torch.float32), action]))

    def explore(self, state: Any) -> float:
        share = 1.0 - self.rng.random()
        warm_up = self.settings.warmup_episodes
        if self.episode < warm_up:
            return share
        mean = float(self.action(self.mu, state).detach())
        sigma = self.settings.sigma * self.settings.sigma_decay ** (self.episode - warm_up)
        low, high = (0 - mean) / sigma, (1 - mean) / sigma
        return float(truncnorm.ppf(share, low, high, loc=mean, scale=sigma))

    def store(self, step: Step) -> None:
        self.buffer[self.stored % len(self.buffer)] = step
        self.stored += 1

    def update(self) -> None:
        settings = self.settings
        if self.episode < settings.warmup_episodes:
            return
        filled = min(self.stored, len(self.buffer))
        chosen = self.rng.choice(filled, min(filled, settings.batch), replace=False)
        batch = [step for number in chosen if (step := self.buffer[number]) is not None]
        mean = sum(r for _, _, r, _ in batch) / len(batch)
        if settings.baseline_decay is not None:
            decay = settings.baseline_decay
            self.b = mean if self.b is None else decay * self.b + (1 - decay) * mean
        loss_q = torch.zeros(1)
        for state, action, reward, following in batch:
            y = torch.tensor([reward - (self.b or 0.0)])
            if following is not None:
                with torch.no_grad():
                    behind = self.action(self.mu_target, following)
                    y = y + settings.discount * self.value(self.q_target, following, behind)
            loss_q = loss_q + (y - self.value(self.q, state, torch.tensor([action]))) ** 2
        self.adam_q.zero_grad()
        (loss_q / len(batch)).backward()
        self.adam_q.step()
        loss_mu = torch.zeros(1)
        for state, *_ in batch:
            loss_mu = loss_mu - self.value(self.q, state, self.action(self.mu, state))
        self.adam_mu.zero_grad()
        (loss_mu / len(batch)).backward()
        self.adam_mu.step()
        for online, target in ((self.mu, self.mu_target), (self.q, self.q_target)):
            for theta, slow in zip(online.parameters(), target.parameters(), strict=True):
                slow.data = settings.tau * theta.data + (1 - settings.tau) * slow.data
