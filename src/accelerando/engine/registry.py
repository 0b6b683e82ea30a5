"""Every method by name, filled when its class is made."""

from fnmatch import fnmatch

from accelerando.errors import HyperparameterError

_METHODS: dict[str, type] = {}


def register(cls: type) -> None:
    """Make ``cls`` known under its name; the first class of a name, in this package, keeps it."""
    if cls.__module__.startswith("accelerando."):
        _METHODS[cls.__name__] = cls


def names(pattern: str = "*") -> list[str]:
    """The names that match ``pattern`` (shell wildcards, any case), sorted."""
    return sorted((n for n in _METHODS if fnmatch(n.lower(), pattern.lower())), key=str.lower)


def find(name: str) -> type:
    """The class called ``name``, in any case; `HyperparameterError` lists the names there are."""
    for known, cls in _METHODS.items():
        if known.lower() == name.lower():
            return cls
    raise HyperparameterError(f"optim.create: no method is called {name!r}; there are {', '.join(names())}")
