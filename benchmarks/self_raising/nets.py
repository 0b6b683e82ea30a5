"""The small nets of the workloads, and what several of them share."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accelerando.compare.tasks.supervised import Pair, evaluating
from accelerando.compare.tasks.text import encoded


class Block(nn.Module):
    """A transformer block; ``post`` puts the norms after the sums."""

    def __init__(self, width: int, heads: int, post: bool = False) -> None:
        super().__init__()
        self.heads, self.post = heads, post
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attend(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.mix(seen.transpose(1, 2).reshape(batch, time, width))

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.first(x + self.attend(x))
            return self.second(x + self.net(x))
        x = x + self.attend(self.first(x))
        return x + self.net(self.second(x))


class Characters(nn.Module):
    """A character transformer of any size."""

    def __init__(self, letters: int, width: int, heads: int, layers: int, context: int, post=False) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(letters, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, post) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, letters)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class Recurrent(nn.Module):
    """A recurrent net over a signal or characters; reads the last state, or every one."""

    def __init__(
        self, cell: type[nn.Module], inputs: int, width: int, outputs: int, letters: int = 0
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(letters, inputs) if letters else None
        self.cell = cell(inputs, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.table is not None:
            return self.head(self.cell(self.table(x))[0])
        return self.head(self.cell(x.unflatten(1, (-1, self.cell.input_size)))[0][:, -1])


class Adapted(nn.Module):
    """A frozen linear map and a product of two thin matrices beside it; the second starts at zero."""

    def __init__(self, body: nn.Linear, rank: int) -> None:
        super().__init__()
        self.body = body.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, body.in_features) / math.sqrt(body.in_features))
        self.up = nn.Parameter(torch.zeros(body.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x @ self.down.T @ self.up.T


def adapted(model: nn.Module, rank: int) -> nn.Module:
    """Freeze a model and put adapters beside its linear maps."""
    model.requires_grad_(False)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and not isinstance(parent, Adapted):
                setattr(parent, name, Adapted(child, rank))
    return model


class Rescaled(nn.Module):
    """The same function with every tensor divided by ``factor``: good rates move by 1 / ``factor``."""

    def __init__(self, body: nn.Module, factor: float) -> None:
        super().__init__()
        self.factor, self.names = factor, [n for n, _ in body.named_parameters()]
        self.kept = nn.ParameterList([nn.Parameter(p.detach() / factor) for p in body.parameters()])
        self.__dict__["body"] = body  # not a child: its tensors are replaced, not trained

    def forward(self, x: Tensor) -> Tensor:
        tensors = {n: p * self.factor for n, p in zip(self.names, self.kept, strict=True)}
        return torch.func.functional_call(self.__dict__["body"], tensors, (x,))


@dataclass(frozen=True, eq=False)
class Windows:
    """Seed → endless batches of stretches of a token sequence."""

    tokens: Tensor
    size: int
    context: int

    def __call__(self, seed: int) -> Iterator[Pair]:
        stream = torch.Generator().manual_seed(seed)
        while True:
            starts = torch.randint(len(self.tokens) - self.context, (self.size, 1), generator=stream)
            yield (self.tokens[starts + torch.arange(self.context + 1)],)


def following(model: nn.Module, batch: Pair) -> Tensor:
    """Cross-entropy of each next token."""
    return F.cross_entropy(model(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())


@dataclass(frozen=True, eq=False)
class OnBatch:
    """The training loss itself, on held-out data."""

    loss: Callable[[nn.Module, Pair], Tensor]
    batch: Pair

    def __call__(self, model: nn.Module) -> dict[str, float]:
        with evaluating(model):
            return {"loss": float(self.loss(model, self.batch))}


@cache
def text(shift: int = 0) -> tuple[Tensor, Tensor, int]:
    """Train tokens, held-out tokens and the alphabet's size; ``shift`` renames every letter."""
    tokens, letters = encoded()
    tokens = (tokens + shift) % letters
    cut = int(len(tokens) * 0.9)
    return tokens[:cut], tokens[cut:], letters


def stretches(tokens: Tensor, context: int, count: int) -> Pair:
    """``count`` stretches spread evenly over a text."""
    whole = tokens.unfold(0, context + 1, context + 1)
    return (whole[torch.linspace(0, len(whole) - 1, count).long()],)


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Makes copies of a model that was trained once, under its own seed, then changed by ``change``."""

    make: Callable[[], nn.Module]
    batches: Callable[[int], Iterator[Pair]]
    loss: Callable[[nn.Module, Pair], Tensor]
    steps: int
    lr: float
    change: Callable[[nn.Module], nn.Module] = lambda model: model

    @cache  # noqa: B019
    def trained(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(12345)
            model = self.make()
            optimizer = torch.optim.AdamW(model.parameters(), lr=self.lr, fused=True)
            decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.steps)
            for _, batch in zip(range(self.steps), self.batches(12345), strict=False):
                optimizer.zero_grad()
                self.loss(model, batch).backward()
                optimizer.step()
                decay.step()
        return model

    def __call__(self) -> nn.Module:
        return self.change(copy.deepcopy(self.trained()))
