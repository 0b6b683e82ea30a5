"""English text, one character after another: a small transformer."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..task import Task
from . import frozen
from .supervised import Pair, evaluating

_FILE = "python_help.txt"
_CONTEXT = 48
_WIDTH = 64
_HEADS = 4
_LAYERS = 2
_HELD_OUT = 0.1
_SPREAD = 0.02


class Block(nn.Module):
    """Attention and a two-layer net, each added to what came in, each after a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(_WIDTH)
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.mix = nn.Linear(_WIDTH, _WIDTH)
        self.net = nn.Sequential(
            nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) → the same shape; a position sees itself and what came before."""
        batch, time, _ = x.shape
        heads = self.qkv(self.before_attention(x)).view(batch, time, 3, _HEADS, _WIDTH // _HEADS)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(batch, time, _WIDTH))
        out: Tensor = x + self.net(x)
        return out


class Transformer(nn.Module):
    """Characters in, the logits of each next character out."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.token = nn.Embedding(letters, _WIDTH)
        self.position = nn.Embedding(_CONTEXT, _WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(_LAYERS)))
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, letters)
        # torch draws embeddings from N(0, 1); positions that loud drown the characters and nothing is learnt.
        for table in (self.token, self.position):
            nn.init.normal_(table.weight, std=_SPREAD)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, time) of indices → (batch, time, letters) of logits."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        logits: Tensor = self.head(self.norm(self.blocks(self.token(tokens) + self.position(places))))
        return logits


@dataclass(frozen=True)
class Maker:
    """Makes the transformer for an alphabet of that size."""

    letters: int

    def __call__(self) -> nn.Module:
        """A fresh transformer."""
        return Transformer(self.letters)


@dataclass(frozen=True, eq=False)
class Windows:
    """Seed → endless batches of stretches of the text, each one character longer than the context."""

    tokens: Tensor
    size: int

    def __call__(self, seed: int) -> Iterator[Pair]:
        """The stream of that seed."""
        stream = torch.Generator().manual_seed(seed)
        while True:
            starts = torch.randint(len(self.tokens) - _CONTEXT, (self.size, 1), generator=stream)
            yield (self.tokens[starts + torch.arange(_CONTEXT + 1)],)


def next_character(model: nn.Module, batch: Pair) -> Tensor:
    """Mean cross-entropy of the next character, in nats."""
    stretch = batch[0]
    return F.cross_entropy(model(stretch[:, :-1]).flatten(0, 1), stretch[:, 1:].flatten())


@dataclass(frozen=True, eq=False)
class HeldOutText:
    """Model → nats per character on stretches spread evenly over text it never saw."""

    stretches: Tensor

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The loss, and the share of next characters that the model ranks first."""
        stretches = self.stretches.to(next(model.parameters()).device)
        with evaluating(model):
            logits = model(stretches[:, :-1])
        targets = stretches[:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return {"loss": float(loss), "accuracy": float((logits.argmax(-1) == targets).float().mean())}


def encoded() -> tuple[Tensor, int]:
    """The text as indices into its sorted alphabet, and the alphabet's size."""
    written = frozen.text(_FILE)
    alphabet = {letter: index for index, letter in enumerate(sorted(set(written)))}
    return torch.tensor([alphabet[letter] for letter in written]), len(alphabet)


def transformer() -> Task:
    """The first nine tenths of the text to train on, 128 stretches of the last tenth held out."""
    tokens, letters = encoded()
    cut = int(len(tokens) * (1 - _HELD_OUT))
    held_out = tokens[cut:].unfold(0, _CONTEXT + 1, _CONTEXT + 1)
    spread_out = torch.linspace(0, len(held_out) - 1, 128).long()
    return Task(
        name="text",
        title="English text, character transformer",
        description="465,024 characters of the help topics of Python (the last tenth held out); a "
        "transformer of two layers, width 64, four heads and a context of 48 characters, batches of 16.",
        model=Maker(letters),
        batches=Windows(tokens[:cut], size=16),
        loss=next_character,
        evaluate=HeldOutText(held_out[spread_out]),
        steps=500,
        metric="accuracy",
        files=(frozen.place(_FILE),),
    )
