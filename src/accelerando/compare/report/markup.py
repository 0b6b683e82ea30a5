"""HTML put together from values, never from text: whatever is not `Safe` is escaped on its way in."""

import re
from html import escape


class Safe(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Safe:
    """An element; children and attributes are escaped, None children are left out.

    An attribute's trailing underscore goes and the others become hyphens: ``class_``, ``aria_label``.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    inner = "".join(_text(child) for child in children if child is not None)
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Safe(f"<{name}{written}>")
    return Safe(f"<{name}{written}>{inner}</{name}>")


def breakable(text: str) -> Safe:
    """Escaped text that may break inside a strategy's name: before ``+`` and ``(``, after ``:`` and ``,``.

    >>> breakable("torch.optim:Adam+cosine")
    'torch.optim:<wbr>Adam<wbr>+cosine'
    """
    return Safe(_BREAKS.sub("<wbr>", escape(text)))


def joined(parts: list[Safe] | tuple[Safe, ...]) -> Safe:
    """Markup after markup."""
    return Safe("".join(parts))


_VOID = frozenset({"meta", "br", "hr", "col"})
_BREAKS = re.compile(r"(?<=[\w)])(?=[+(]\w)|(?<=[:,])(?=\w)")


def _text(child: object) -> str:
    return str(child) if isinstance(child, Safe) else escape(str(child))
