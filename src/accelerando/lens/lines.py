"""What is kept, as lines of the file (see `accelerando.lens.store`)."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from accelerando.lens.events import Event
from accelerando.lens.rows import VALUES, WHOLE_NUMBERS, Block, Place

DIGITS = 9

_NUMBERS = ", ".join(
    f'"{name}": %.15g' if at in WHOLE_NUMBERS else f'"{name}": %.{DIGITS}g' for at, name in enumerate(VALUES)
)
"""All numbers of a row at once, which costs a third of what one after another does."""


class Line(NamedTuple):
    """One or more lines, and the place among all samples of the one that they belong to."""

    order: int
    text: str


def lines_of(block: Block) -> list[Line]:
    """The rows of each sample of a block, and the line that closes them."""
    places = [_place(place, block.optimizer) for place in block.places]
    samples, found = block.samples, []
    for order, step, rows in zip(
        samples.orders.tolist(), samples.steps.tolist(), block.numbers.tolist(), strict=True
    ):
        head = f'{{"kind": "row", "step": {step}, '
        texts = [head + place + _numbers(row) for place, row in zip(places, rows, strict=True)]
        texts.append(f'{{"kind": "sample", "optimizer": {block.optimizer}, "step": {step}}}\n')
        found.append(Line(order, "".join(texts)))
    return found


def event_line(order: int, event: Event) -> Line:
    """A finding."""
    fields = event.as_dict()
    if event.factor is not None:
        fields["factor"] = float(f"{event.factor:.{DIGITS}g}")
    return Line(order, json.dumps({"kind": "event", **fields}, ensure_ascii=False, allow_nan=False) + "\n")


def _place(place: Place, optimizer: int) -> str:
    scope, group, tensor, size = place
    fields = {"scope": scope, "optimizer": optimizer, "group": group, "tensor": tensor, "size": size}
    return json.dumps(fields, ensure_ascii=False)[1:-1] + ", "


def _numbers(row: Sequence[float]) -> str:
    text = _NUMBERS % tuple(row)
    for word in (": nan", ": inf", ": -inf"):
        text = text.replace(word, ": null")
    return text + "}\n"
