"""Words and pictures asked for together: a moment where both hold comes before one where one does.

Each part of a query finds by itself, and no score of a part says how much the other is missed. So
moments are ranked by how many of the parts hold there, then by how well. For that it must be known:
where one part found something and another did not, the other is asked again for just that place,
since the best of a whole library need not have been the ones there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from index.store import Filter, Match
from rag.footage import FootageFind
from rag.fuse import Dropped, Find, Fused
from rag.images import SIMILAR
from rag.scope import overlapping

_Ask = Callable[[Filter], tuple[list[Find], list[Dropped]]]

MOST_PLACES = 20
NEAR_SECONDS = 10.0
"""Finds this near to one another are one place to ask about."""


@dataclass
class Together(Fused):
    """A moment, with how many of the parts that were asked for hold there."""

    held: int = 1
    asked: int = 1

    @property
    def score(self) -> float:
        """At least (held - 1) / asked and at most held / asked."""
        return (self.held - 1 + super().score) / self.asked


def part_of(find: Find) -> str:
    """Which part of the query found it: "clip", "image" or "words"."""
    if isinstance(find, FootageFind):
        return "clip"
    if find.channel == "fingerprint" or (find.channel == "frame" and find.text == SIMILAR):
        return "image"
    return "words"


def together(groups: Iterable[Fused], ranked: Sequence[Find], asked: int) -> list[Fused]:
    """The groups, those where most parts hold first; a find that overlaps a group and did not
    become part of it, as where a clip covers several things that were said, does so now.

    ranked: all finds. asked: the number of parts of the query.
    """
    found: list[Fused] = []
    for group in groups:
        here = [find for find in ranked if _overlap(find, group)]
        own = {part_of(find) for find in group.finds}
        for find in here:
            if part_of(find) not in own:
                own.add(part_of(find))
                group.finds.append(find)
        found.append(Together(**vars(group), held=len(own), asked=asked))
    return sorted(found, key=lambda group: -group.score)


def ask_again(finds: Sequence[Find], words: _Ask, image: _Ask) -> list[Find]:
    """What the words find where a picture was found without them, and the picture where words
    were. words, image: find in what passes a filter."""
    by_words = [find for find in finds if part_of(find) == "words"]
    by_picture = [find for find in finds if part_of(find) != "words"]
    again: list[Find] = []
    for ask, there, others in ((words, by_picture, by_words), (image, by_words, by_picture)):
        alone = [find for find in there if not any(_overlap(find, other) for other in others)]
        for place in _places(alone)[:MOST_PLACES]:
            again += [find for find in ask(_at(place))[0] if _overlap(find, place)]
    return again


def _places(finds: Sequence[Find]) -> list[Find]:
    """The best first; those near to one another as one."""
    places: list[Find] = []
    for find in sorted(finds, key=lambda find: (-find.score, find.start_seconds)):
        for at, place in enumerate(places):
            if _overlap(find, place, within_seconds=NEAR_SECONDS):
                start = min(place.start_seconds, find.start_seconds)
                end = max(place.end_seconds, find.end_seconds)
                places[at] = replace(place, start_seconds=start, end_seconds=end)
                break
        else:
            places.append(find)
    return places


def _at(place: Find) -> Filter:
    return Filter(
        (
            Match("video_id", (place.video_id,)),
            Match("epoch", (place.epoch,)),
            *overlapping((place.start_seconds, place.end_seconds)),
        )
    )


def _overlap(find: Find, other: Find | Fused, within_seconds: float = 0.0) -> bool:
    of = other.best if isinstance(other, Fused) else other
    return (
        (find.video_id, find.epoch) == (of.video_id, of.epoch)
        and find.start_seconds < other.end_seconds + within_seconds
        and find.end_seconds > other.start_seconds - within_seconds
    )
