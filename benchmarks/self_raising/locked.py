"""The locked set: written before the method was tuned, run once, when everything was fixed.

None of them is like a development workload: a denoising convolutional net, a mixer of signals, a graph net,
matrix factorisation, contrastive towers, an LSTM on characters, noise prediction (diffusion).
"""

import math
from collections.abc import Iterator

import torch
from nets import OnBatch, Recurrent, Windows, following, stretches, text
from torch import Tensor, nn
from torch.nn import functional as F

from accelerando.compare.task import Task
from accelerando.compare.tasks import frozen
from accelerando.compare.tasks.supervised import HeldOut, Pair, Shuffled, classified, cross_entropy


def digits() -> tuple[Tensor, Tensor]:
    data = frozen.arrays("digits.npz")
    return data["train_x"].float() / 16, data["test_x"].float() / 16


def denoising() -> Task:
    """Clean 8 × 8 digits from noisy ones, by convolutions with group norm; Bernoulli likelihood."""
    train, held_out = digits()

    def make() -> nn.Module:
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
        for before, after in ((1, 16), (16, 16), (16, 16)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        return nn.Sequential(*layers, nn.Conv2d(16, 1, 3, padding=1), nn.Flatten())

    def batches(seed: int) -> Iterator[Pair]:
        stream = torch.Generator().manual_seed(seed)
        for x, _ in Shuffled(train, train, size=32)(seed):
            yield x + 0.5 * torch.randn(x.shape, generator=stream), x

    def loss(model: nn.Module, batch: Pair) -> Tensor:
        return F.binary_cross_entropy_with_logits(model(batch[0]), batch[1])

    noise = torch.randn(held_out.shape, generator=torch.Generator().manual_seed(1))
    return Task("denoising", make, batches, loss, OnBatch(loss, (held_out + 0.5 * noise, held_out)), 400)


class Mixer(nn.Module):
    """Signals cut into patches; layers mix patches and channels in turn."""

    def __init__(self, patches=10, width=32, layers=3) -> None:
        super().__init__()
        self.patches = patches
        self.enter, self.head = nn.Linear(40 // patches, width), nn.Linear(width, 10)
        self.across = nn.ModuleList(
            nn.Sequential(nn.Linear(patches, 20), nn.GELU(), nn.Linear(20, patches)) for _ in range(layers)
        )
        self.within = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
            for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x.unflatten(1, (self.patches, -1)))
        for across, within in zip(self.across, self.within, strict=True):
            x = x + across(x.transpose(1, 2)).transpose(1, 2)
            x = x + within(x)
        return self.head(x.mean(1))


def mixer() -> Task:
    data = frozen.arrays("mnist1d.npz")
    held_out = HeldOut(data["test_x"].float(), data["test_y"].long(), classified)
    batches = Shuffled(data["train_x"].float(), data["train_y"].long(), size=32)
    return Task("mixer", Mixer, batches, cross_entropy, held_out, 600)


class GraphNet(nn.Module):
    """Two rounds of message passing over one fixed graph."""

    def __init__(self, adjacency: Tensor, features: int, classes: int) -> None:
        super().__init__()
        self.adjacency = adjacency
        self.first, self.second = nn.Linear(features, 32), nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.adjacency @ self.second(torch.relu(self.adjacency @ self.first(x)))


def graph() -> Task:
    """A stochastic block model: 400 nodes, 4 communities, faint features; 120 labels to train on."""
    stream = torch.Generator().manual_seed(7)
    labels = torch.randint(4, (400,), generator=stream)
    same = labels[:, None] == labels[None]
    edges = torch.rand(400, 400, generator=stream) < torch.where(same, 0.05, 0.02)
    edges = (edges.triu(1) | edges.triu(1).T).float() + torch.eye(400)
    degree = edges.sum(1).rsqrt()
    adjacency = degree[:, None] * edges * degree
    x = torch.randn(400, 24, generator=stream) + 0.4 * F.one_hot(labels, 24)

    def batches(seed: int) -> Iterator[Pair]:
        stream = torch.Generator().manual_seed(seed)
        while True:
            yield (torch.randperm(120, generator=stream)[:24],)

    def loss(model: nn.Module, batch: Pair) -> Tensor:
        return F.cross_entropy(model(x)[batch[0]], labels[batch[0]])

    return Task(
        "graph",
        lambda: GraphNet(adjacency, 24, 4),
        batches,
        loss,
        OnBatch(loss, (torch.arange(120, 400),)),
        300,
    )


class Factors(nn.Module):
    """Ratings as dot products of a user's and an item's vector, with their biases."""

    def __init__(self, users=400, items=300, rank=8) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, rank), nn.Embedding(items, rank)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)

    def forward(self, pairs: Tensor) -> Tensor:
        user, item = pairs.unbind(1)
        product = (self.user(user) * self.item(item)).sum(1)
        return product + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]


def factorisation() -> Task:
    stream = torch.Generator().manual_seed(11)
    user, item = torch.randn(400, 4, generator=stream), torch.randn(300, 4, generator=stream)
    pairs = torch.stack(
        [torch.randint(400, (20000,), generator=stream), torch.randint(300, (20000,), generator=stream)], 1
    )
    ratings = (user[pairs[:, 0]] * item[pairs[:, 1]]).sum(1) / 2 + 0.3 * torch.randn(20000, generator=stream)

    def loss(model: nn.Module, batch: Pair) -> Tensor:
        return F.mse_loss(model(batch[0]), batch[1])

    held_out = OnBatch(loss, (pairs[16000:], ratings[16000:]))
    return Task(
        "factorisation", Factors, Shuffled(pairs[:16000], ratings[:16000], size=128), loss, held_out, 800
    )


class Towers(nn.Module):
    """Two nets that should give the two halves of one picture the same vector."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (
            nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 16))
            for _ in range(2)
        )
        self.heat = nn.Parameter(torch.tensor(math.log(5.0)))

    def forward(self, x: Tensor) -> Tensor:
        a = F.normalize(self.left(x[:, :32]), dim=1)
        b = F.normalize(self.right(x[:, 32:]), dim=1)
        return self.heat.exp() * a @ b.T


def contrast() -> Task:
    train, held_out = digits()

    def loss(model: nn.Module, batch: Pair) -> Tensor:
        logits, places = model(batch[0]), torch.arange(len(batch[0]))
        return (F.cross_entropy(logits, places) + F.cross_entropy(logits.T, places)) / 2

    return Task("contrast", Towers, Shuffled(train, train, size=48), loss, OnBatch(loss, (held_out,)), 500)


def lstm() -> Task:
    train, held_out, letters = text()
    return Task(
        "lstm",
        lambda: Recurrent(nn.LSTM, 24, 64, letters, letters),
        Windows(train, 12, 32),
        following,
        OnBatch(following, stretches(held_out, 32, 128)),
        400,
    )


def diffusion() -> Task:
    """Predict the noise in a digit at a random noise level; the loss has a floor far above zero."""
    train, held_out = digits()

    def noised(x: Tensor, stream: torch.Generator) -> Pair:
        level = torch.rand(len(x), 1, generator=stream)
        noise = torch.randn(x.shape, generator=stream)
        angle = level * math.pi / 2
        mixed = angle.cos() * (2 * x - 1) + angle.sin() * noise
        return torch.cat([mixed, (6 * angle).sin(), (6 * angle).cos(), level], 1), noise

    def batches(seed: int) -> Iterator[Pair]:
        stream = torch.Generator().manual_seed(seed)
        for x, _ in Shuffled(train, train, size=64)(seed):
            yield noised(x, stream)

    def loss(model: nn.Module, batch: Pair) -> Tensor:
        return F.mse_loss(model(batch[0]), batch[1])

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Linear(67, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64)
        )

    held = noised(held_out.repeat(2, 1), torch.Generator().manual_seed(3))
    return Task("diffusion", make, batches, loss, OnBatch(loss, held), 600)


WORKLOADS = {f.__name__: f for f in (denoising, mixer, graph, factorisation, contrast, lstm, diffusion)}
