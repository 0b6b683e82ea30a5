"""Which optimizers of other libraries are held to the battery, and how each is loaded."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Peer:
    """One optimizer of another library.

    Attributes:
        package: the name it is installed by.
        module: where its class is.
        cls: the class.
        options: what it is made with beyond its defaults.
        paper: the transcription it is held to, where its class is not called after it.
    """

    package: str
    module: str
    cls: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: str | None = None

    @property
    def label(self) -> str:
        """Package, class and options, as the table writes them."""
        options = ", ".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.package}: {self.cls}({options})"

    def load(self) -> Callable[..., Any]:
        """The class, with the options that are not to be varied bound to it."""
        with _bare("timm", "timm.optim") if self.package == "timm" else nullcontext():
            found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.cls)
        return found

    def version(self) -> str | None:
        """The installed version, or None."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


@contextmanager
def _bare(*packages: str) -> Iterator[None]:
    """Make packages importable without running their ``__init__``, which for timm wants torchvision."""
    absent = [name for name in packages if name not in sys.modules]
    for name in absent:
        parent = name.rpartition(".")[0]
        path = sys.modules[parent].__path__ if parent else None
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations)
        module.__spec__ = spec
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


torch_ = partial(Peer, "torch", "torch.optim")
kozistr = partial(Peer, "pytorch_optimizer", "pytorch_optimizer")
jettify = partial(Peer, "torch_optimizer", "torch_optimizer")
optimi = partial(Peer, "torch-optimi", "optimi")

PEERS: tuple[Peer, ...] = (
    torch_("Adam"),
    torch_("AdamW"),
    torch_("RAdam"),
    torch_("SGD"),
    torch_("Adafactor"),
    Peer("timm", "timm.optim.lamb", "Lamb"),
    Peer("timm", "timm.optim.lamb", "Lamb", {"max_grad_norm": None}),
    Peer("timm", "timm.optim.lamb", "Lamb", {"max_grad_norm": None, "always_adapt": True}),
    Peer("timm", "timm.optim.lamb", "Lamb", {"max_grad_norm": None, "weight_decay": 0.0}),
    Peer("timm", "timm.optim.adabelief", "AdaBelief"),
    Peer("timm", "timm.optim.adabelief", "AdaBelief", {"rectify": False}),
    Peer("timm", "timm.optim.radam", "RAdamLegacy", {}, "RAdam"),
    kozistr("Lamb"),
    kozistr("Lamb", {"adam_debias": True}),
    kozistr("Lamb", {"rectify": True}),
    kozistr("Lamb", {"pre_norm": True}),
    kozistr("AdaBelief"),
    kozistr("AdaBelief", {"rectify": True}),
    kozistr("RAdam"),
    kozistr("RAdam", {"degenerated_to_sgd": True}),
    kozistr("Prodigy"),
    kozistr("DAdaptAdam"),
    jettify("Lamb"),
    jettify("Lamb", {"debias": True}),
    jettify("AdaBelief"),
    jettify("AdaBelief", {"rectify": True}),
    jettify("RAdam"),
    Peer("adabelief-pytorch", "adabelief_pytorch", "AdaBelief"),
    Peer("adabelief-pytorch", "adabelief_pytorch", "AdaBelief", {"rectify": False}),
    optimi("Adam"),
    optimi("AdamW"),
    optimi("RAdam"),
    Peer("bitsandbytes", "bitsandbytes.optim", "AdamW"),
    Peer("bitsandbytes", "bitsandbytes.optim", "LAMB"),
    Peer("bitsandbytes", "bitsandbytes.optim", "LAMB8bit", {}, "LAMB"),
    Peer("prodigyopt", "prodigyopt", "Prodigy"),
    Peer("dadaptation", "dadaptation", "DAdaptAdam"),
    Peer("schedulefree", "schedulefree", "AdamWScheduleFree"),
    Peer("schedulefree", "schedulefree", "RAdamScheduleFree"),
)
