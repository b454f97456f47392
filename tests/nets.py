"""Small networks to prune: a chain, a residual net, a grouped one. Inputs are 3x8x8."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

INPUT = (3, 8, 8)


class Chain(nn.Module):
    """Convolutions of several kinds, one with batch norm, then linear layers after a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 5, stride=2, padding=2)
        self.b = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.c = nn.Conv2d(8, 7, 1)
        self.wide, self.head = nn.Linear(7 * 4, 9), nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.b(functional.relu(self.a(x), inplace=True))))
        x = functional.max_pool2d(torch.sigmoid(self.c(x)), 2)
        return self.head(functional.relu(self.wide(x.flatten(1))))


class Residual(nn.Module):
    """A trunk that three layers write and two read, with a block inside, and a second reader."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.in1, self.norm1 = nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.out1 = nn.Conv2d(5, 6, 3, padding=1)
        self.in2, self.norm2 = nn.Conv2d(6, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.out2 = nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        x = functional.relu(x + self.out1(functional.relu(self.norm1(self.in1(x)))))
        x = functional.relu(x + self.out2(functional.relu(self.norm2(self.in2(x)))))
        return self.head(x.mean((2, 3)))


class Grouped(nn.Module):
    """A grouped convolution between two ordinary ones, then a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.grouped, self.norm = nn.Conv2d(12, 8, 3, groups=4, padding=1), nn.BatchNorm2d(8)
        self.c = nn.Conv2d(8, 6, 1)
        self.depthwise, self.norm_d = nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm_a(self.a(x)))
        x = self.c(functional.relu(self.norm(self.grouped(x))))
        return self.head(functional.relu(self.norm_d(self.depthwise(x))).mean((2, 3)))


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A network in float64, its batch norms as after some training."""
    torch.manual_seed(seed)
    network = kind().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


def batches(
    count: int = 2, size: int = 4, seed: int = 1, shape: tuple[int, ...] = INPUT
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Random images in float64 and labels 0..3."""
    draws = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, *shape, generator=draws, dtype=torch.float64),
            torch.randint(4, (size,), generator=draws),
        )
        for _ in range(count)
    ]
