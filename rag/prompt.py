"""The prompt for an answer: numbered sources, words and pictures, within a budget of tokens.

Each scene gives up to two sources, one of words and one of pictures, so that it is known of every
citation whether there are words to hold it against. Sources stand in the order of time, the video
with the best scene first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from index.errors import ConfigError, UsageError
from index.schema import Moment, Source
from ingest.models.videollm import Frame, Prompt
from ingest.reducing import reduced_size
from rag import source_text
from rag.answer_settings import AskSettings
from rag.delimited import CLOSE, OPEN, block
from rag.detected import usual
from rag.material import Line, Scene
from rag.show_frames import Shown, reduced, show
from rag.tokens import TokenCount

if TYPE_CHECKING:
    from ingest.segment_frames import Media
    from rag.detected import Finder

PLACES = ("{sources}", "{question}")
"""Stand in the instructions where these go. What comes before the sources is the system's part."""

_JOIN = 1
"""Tokens that joining two texts may add: a vocabulary may merge less across the seam."""


@dataclass(frozen=True, slots=True)
class Built:
    """A prompt and what stands in it. words: of each source that has any, by number; a source that
    is not there has pictures alone. tokens: of the prompt. frames: pictures in it. left_out: lines
    that did not fit. notes: sentences for the user."""

    prompt: Prompt
    sources: tuple[Source, ...]
    words: dict[int, tuple[Line, ...]]
    tokens: int
    frames: int
    left_out: int = 0
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    lines: list[list[Line]]
    frames: list[Shown]
    watched: list[int] = field(default_factory=list)


class PromptBuilder:
    """instructions: with PLACES in them, in this order, else ConfigError is raised. watched: the
    model has seen the video, so that pictures are named as sources and not shown. finder: looks for
    things on pictures that are shown."""

    def __init__(
        self,
        instructions: str,
        tokens: TokenCount,
        settings: AskSettings,
        path_of: Callable[[str], Media | None],
        *,
        watched: bool = False,
        finder: Finder | None = None,
    ):
        for place in PLACES:
            if place not in instructions:
                raise ConfigError(f"The instructions for answers lack {place}.")
        before, _, after = instructions.partition(PLACES[0])
        if PLACES[1] not in after:
            raise ConfigError(f"The instructions for answers have {PLACES[1]} before the sources.")
        self._system = before.strip()
        self._tail = after.strip()
        self._tokens = tokens
        self._settings = settings
        self._path_of = path_of
        self._watched = watched
        self.finder = None if watched else finder

    def build(
        self,
        question: str,
        scenes: Sequence[Scene],
        *,
        budget: int | None = None,
        number: int = 1,
        things: Sequence[str] = (),
    ) -> Built:
        """The prompt and the answer together take at most `budget` tokens (None: as the settings
        say), and no more than the model takes. scenes: best first. number: of the first source.
        things: to be looked for on the pictures, where there is a finder.

        Raises UsageError where not even the question fits, and ModelMissingError where the finder
        lacks its model.
        """
        limit, tail, fixed = self._limit(question, budget)
        room = limit - fixed
        share = self._share(scenes)
        if not share or self.finder is None:
            things = ()
        draft = _Draft([[] for _ in scenes], [])
        if self._watched:
            draft.watched = [at for at, scene in enumerate(scenes) if scene.looks]
            headings = (source_text.watched_heading(9999, scenes[at]) for at in draft.watched)
            room -= sum(map(self._block_cost, headings))
        used = self._fill(draft, scenes, room * (1.0 - share))
        notes: list[str] = []
        if share:
            draft.frames, notes = self._pictures(scenes, room - used, things)
            used += self._picture_cost(draft.frames, scenes)
            used += self._fill(draft, scenes, room - used)
        while True:
            built = self._assemble(draft, scenes, tail, number)
            if built.tokens <= limit or not self._drop(draft):
                break
        left = sum(len(s.lines) for s in scenes) - sum(map(len, draft.lines))
        return replace(built, left_out=left, notes=tuple(notes))

    def text_tokens(self, text: str) -> int:
        """As the model counts them, or as well as that is known."""
        return self._tokens.text(text)

    def fits(self, prompt: Prompt, answer_tokens: int) -> bool:
        """Whether it and an answer of so many tokens stay within the budget."""
        return self._tokens.prompt(prompt) + answer_tokens <= self._most(None)

    def plain(self, question: str, *, budget: int | None = None) -> Built:
        """The question alone. Raises UsageError where it does not fit."""
        limit = self._most(budget) - self._settings.answer_tokens
        prompt = Prompt((question,))
        count = self._tokens.prompt(prompt)
        if count > limit:
            raise _no_room("question takes", count, limit)
        return Built(prompt, (), {}, count, 0)

    def parts_needed(self, question: str, scenes: Sequence[Scene]) -> int:
        """Into how many parts the scenes have to be divided for all of their words to be read."""
        limit, _, fixed = self._limit(question, None)
        room = (limit - fixed) * (1.0 - self._share(scenes))
        words = sum(self._line_cost(line) for scene in scenes for line in scene.lines)
        return max(1, math.ceil(words / max(room, 1.0)))

    def from_notes(
        self,
        question: str,
        notes: Sequence[tuple[str, Sequence[str]]],
        sources: Sequence[Source],
        words: dict[int, tuple[Line, ...]],
        *,
        budget: int | None = None,
    ) -> Built:
        """A prompt with notes, which cite the sources, in the sources' place. notes: (heading,
        lines), in the order of time; the longest give up lines where not all fit."""
        limit, tail, _ = self._limit(question, budget)
        kept = [list(lines) for _, lines in notes]
        while True:
            blocks = [
                block(heading, lines)
                for (heading, _), lines in zip(notes, kept, strict=True)
                if lines
            ]
            text = "\n".join([*blocks, "", tail]) if blocks else tail
            prompt = Prompt((text,), self._system, self._spans(sources))
            count = self._tokens.prompt(prompt)
            longest = max(kept, key=len, default=[])
            if count <= limit or not longest:
                break
            del longest[-max(1, len(longest) // 8) :]
        left = sum(len(lines) for _, lines in notes) - sum(map(len, kept))
        return Built(prompt, tuple(sources), dict(words), count, 0, left)

    def _limit(self, question: str, budget: int | None) -> tuple[int, str, int]:
        """The most that a prompt may have, its end with the question in it, and what it has
        without a source."""
        limit = self._most(budget) - self._settings.answer_tokens
        tail = self._tail.replace(PLACES[1], question)
        fixed = self._tokens.prompt(Prompt((tail,), self._system))
        if fixed > limit:
            raise _no_room("instructions and the question take", fixed, limit)
        return limit, tail, fixed

    def _most(self, budget: int | None) -> int:
        """Tokens of prompt and answer."""
        limits = [self._settings.budget_tokens if budget is None else budget]
        return min([*limits, *(each for each in [self._tokens.context()] if each is not None)])

    def _share(self, scenes: Sequence[Scene]) -> float:
        seen = not self._watched and any(scene.looks and scene.size for scene in scenes)
        return self._settings.picture_share if seen and self._settings.frames else 0.0

    # Words

    def _fill(self, draft: _Draft, scenes: Sequence[Scene], room: float) -> int:
        """Puts lines in, the worthiest of each scene first: to each scene its share of the room,
        by relevance, and what those leave to the best. Returns the tokens that they take."""
        used = 0
        total = sum(0.25 + scene.relevance for scene in scenes) or 1.0
        for shared in (True, False):
            for at, scene in enumerate(scenes):
                own = room * (0.25 + scene.relevance) / total if shared else room - used
                used += self._fill_scene(draft.lines[at], scene, min(own, room - used))
        return used

    def _fill_scene(self, kept: list[Line], scene: Scene, room: float) -> int:
        used = 0
        inside = {id(line) for line in kept}
        for line in sorted(scene.lines, key=lambda line: -line.worth):
            if id(line) in inside:
                continue
            heading = 0 if kept else self._block_cost(source_text.words_heading(9999, scene))
            cost = self._line_cost(line) + heading
            if used + cost > room:
                if line.worth < 1.0:  # beyond what was found, text has no holes
                    break
                continue
            kept.append(line)
            used += cost
        return used

    def _line_cost(self, line: Line) -> int:
        return self._text_cost(source_text.line_text(line))

    def _text_cost(self, line: str) -> int:
        return self._tokens.text(line + "\n") + _JOIN

    def _block_cost(self, heading: str) -> int:
        return self._tokens.text(f"{OPEN}{heading}\n") + self._tokens.text(f"{CLOSE}\n") + 2 * _JOIN

    # Pictures

    def _pictures(
        self, scenes: Sequence[Scene], room: float, things: Sequence[str]
    ) -> tuple[list[Shown], list[str]]:
        seen = [scene for scene in scenes if scene.looks and scene.size]
        picture = max(self._tokens.picture(*scene.size) for scene in seen)
        beside = self._text_cost(usual(things)) if things else 0
        picture += beside
        heading = max(self._block_cost(source_text.pictures_heading(9999, scene)) for scene in seen)
        few = min(int(room // (picture + heading)), len(seen))  # each in a scene of its own
        left = room - len(seen) * heading
        count = max(few, int(left // picture))
        large = count = min(count, self._settings.frames)
        if count <= 0:
            return [], []
        if self._settings.small_side is not None:
            large, count = self._two_sizes(seen, left, picture, count, beside)
        if things:
            self.finder.load()  # what is missing is said before files are decoded
        shown, notes = show(scenes, count, self._path_of, self._settings.picture_side)
        if things:
            shown = self.finder.look(shown, things)
        small = [reduced(one, self._settings.small_side) for one in shown[large:]]
        chosen = [*shown[:large], *small]
        while things and chosen and self._picture_cost(chosen, scenes) > room:
            del chosen[-1]
        return chosen, notes

    def _two_sizes(
        self, scenes: Sequence[Scene], room: float, picture: int, count: int, beside: int
    ) -> tuple[int, int]:
        """How many pictures of full size, and how many in all, where `count` of full size fit.
        beside: tokens of what is said of each."""
        settings = self._settings
        wanted = min(settings.frames, sum(len(scene.looks) for scene in scenes))
        large = max(1, math.ceil(settings.large_share * count))
        small = max(
            self._tokens.picture(*reduced_size(*scene.size, settings.small_side)) + beside
            for scene in scenes
        )
        more = large + max(0, int((room - large * picture) // small))
        return (large, min(more, wanted)) if count < min(more, wanted) else (count, count)

    def _picture_cost(self, frames: Sequence[Shown], scenes: Sequence[Scene]) -> int:
        cost = sum(
            self._block_cost(source_text.pictures_heading(9999, scenes[at]))
            for at in {one.scene for one in frames}
        )
        for one in frames:
            cost += self._tokens.picture(*one.frame.image.shape[:2]) + self._detected_cost(one)
        return cost

    def _detected_cost(self, shown: Shown) -> int:
        return self._text_cost(source_text.detected_text(shown, 9999)) if shown.detected else 0

    # All of it

    def _assemble(self, draft: _Draft, scenes: Sequence[Scene], tail: str, number: int) -> Built:
        parts: list[str | Frame] = []
        sources: list[Source] = []
        words: dict[int, tuple[Line, ...]] = {}

        def add(text: str) -> None:
            if parts and isinstance(parts[-1], str):
                parts[-1] = f"{parts[-1]}\n{text}"
            else:
                parts.append(text)

        for at in _in_time(scenes):
            scene = scenes[at]
            lines = sorted(draft.lines[at], key=scene.lines.index)
            shown = sorted(
                (one for one in draft.frames if one.scene == at),
                key=lambda one: one.frame.time_seconds,
            )
            if lines:
                source = Source(number + len(sources), _told(scene.moment, lines))
                words[source.number] = tuple(lines)
                sources.append(source)
                add(
                    block(
                        source_text.words_heading(source.number, scene),
                        [source_text.line_text(line) for line in lines],
                    )
                )
            if shown:
                frames = [one.frame for one in shown]
                source = Source(number + len(sources), _pictured(scene.moment, frames))
                sources.append(source)
                add(f"{OPEN}{source_text.pictures_heading(source.number, scene)}")
                parts.extend(frames)  # nothing between them: models read them as one stretch
                for n, one in enumerate(shown, start=1):
                    if one.detected:
                        add(source_text.detected_text(one, n))
                add(CLOSE)
            if at in draft.watched:
                source = Source(number + len(sources), _watched(scene.moment))
                sources.append(source)
                add(block(source_text.watched_heading(source.number, scene), []))
        add(tail if not parts else f"\n{tail}")
        prompt = Prompt(tuple(parts), self._system, self._spans(sources))
        count = self._tokens.prompt(prompt)
        return Built(prompt, tuple(sources), words, count, len(draft.frames))

    def _spans(self, sources: Sequence[Source]) -> tuple[tuple[float, float], ...]:
        moments = [source.moment for source in sources] if self._watched else []
        return tuple((moment.start_seconds, moment.end_seconds) for moment in moments)

    def _drop(self, draft: _Draft) -> bool:
        """Takes out the least: the last picture that was chosen, or else the least worthy line."""
        if draft.frames:
            draft.frames.pop()
            return True
        if len(draft.watched) > 1 or (draft.watched and any(draft.lines)):
            draft.watched.pop()
            return True
        for lines in reversed(draft.lines):
            if lines:
                lines.pop()
                return True
        return False


def _no_room(what: str, count: int, limit: int) -> UsageError:
    return UsageError(
        f"The {what} {count} tokens; the budget leaves {limit} beside the answer. Raise "
        "ask.budget_tokens, or lower ask.answer_tokens."
    )


def _in_time(scenes: Sequence[Scene]) -> list[int]:
    first: dict[str, int] = {}
    for at, scene in enumerate(scenes):
        first.setdefault(scene.moment.video_id, at)
    return sorted(
        range(len(scenes)),
        key=lambda at: (first[scenes[at].moment.video_id], scenes[at].moment.start_seconds),
    )


def _watched(moment: Moment) -> Moment:
    return replace(moment, channel="frame", text="", highlights=())


def _told(moment: Moment, lines: Sequence[Line]) -> Moment:
    """The moment that a citation of these lines plays."""
    start = min(line.start_seconds for line in lines)
    end = max(line.end_seconds for line in lines)
    best = max(lines, key=lambda line: line.worth)
    text = "\n".join(line.text for line in lines)
    return replace(
        moment, start_seconds=start, end_seconds=end, channel=best.channel, text=text, highlights=()
    )


def _pictured(moment: Moment, frames: Sequence[Frame]) -> Moment:
    """From the first picture on; at least a second, within the stretch."""
    start = min(moment.start_seconds, frames[0].time_seconds)
    end = max(moment.end_seconds, frames[-1].time_seconds)
    return replace(
        moment, start_seconds=start, end_seconds=end, channel="frame", text="", highlights=()
    )
