"""A question taken apart before it is searched for: by the planner where there is one and it
answers, else by rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.query import Ask, ParsedQuery

if TYPE_CHECKING:  # what few searches need is imported where they do
    from rag.order import Order
    from rag.planner import Planner

FEWEST_WORDS = 3
"""Of a question that is worth taking apart by a model."""


@dataclass(frozen=True, slots=True)
class Apart:
    """order: in time, that is asked for. asks: what each channel is asked; nothing: what was typed.
    notes: sentences for the user. things: that the question names, as the planner sees it; None
    where no planner has said."""

    order: Order | None
    asks: Sequence[Ask] = ()
    notes: tuple[str, ...] = ()
    things: tuple[str, ...] | None = None


def take_apart(query: ParsedQuery, planner: Planner | None) -> Apart:
    if planner is None or len(query.text.split()) < FEWEST_WORDS:
        return Apart(_order_in(query.quoted))
    from rag.planner import PlanError, asks_of, order_of

    try:
        plan = planner.plan(query.text)
    except PlanError as error:
        note = f"The question was searched for as it was typed. {error}"
        return Apart(_order_in(query.quoted), notes=(note,))
    things = tuple(dict.fromkeys(thing.name for thing in plan.objects))
    return Apart(order_of(plan, query.quoted), asks_of(plan, query.text), things=things)


def _order_in(text: str) -> Order | None:
    """What the rules make of it; nothing where no word of it is about an order."""
    if not any(word in text.casefold() for word in ("after", "before", "then", "followed by")):
        return None
    from rag.order import split_order

    return split_order(text)
