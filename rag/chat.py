"""Questions that follow each other: each is written so that it stands by itself, then asked as any
other, and remembered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from index.errors import ConfigError
from index.library import Library
from index.schema import AnswerEvent, Citation, Done, Source, Sources, Token
from index.text import TextStatistics
from ingest.models.videollm import Prompt, VideoLLM, VideoLLMError, answer_text
from rag.answer import Answerer
from rag.delimited import block, one_line
from rag.follow_up import about_the_video, follow_up, leans
from rag.numbers import numbers_in
from rag.query import parse
from rag.repeating import REPEATED, until_it_repeats
from rag.unseen import without_thoughts

PLACES = ("{conversation}", "{question}")
TURNS = 6
"""That a model is told of."""

_PLACE = re.compile("|".join(map(re.escape, PLACES)))
_ASKS = re.compile("[?？؟;]")
"""A question's mark; Greek has a semicolon."""

_ANSWER_CHARACTERS = 600
"""Of each earlier answer that a model is told of."""

_TOKENS = 1000
"""That a model may take for a question; some think first."""

_LONGEST = 400
"""Characters of a question that a model may make of one; more is no question."""


@dataclass(frozen=True, slots=True)
class Turn:
    """question: as it was typed. asked: as it was put to the library. videos: looked in; all where
    empty. answer: what was said. sources: all that it was given; cited: those it leans on."""

    question: str
    asked: str
    videos: tuple[str, ...]
    answer: str = ""
    sources: tuple[Source, ...] = ()
    cited: tuple[Source, ...] = ()


class Rewriter:
    """Has a model write a follow-up so that it stands by itself. instructions: with PLACES in them,
    else ConfigError is raised. fits: whether a prompt may be sent that is answered in so many
    tokens; the oldest turns are left out until one may."""

    def __init__(self, model: VideoLLM, instructions: str, fits: Callable[[Prompt, int], bool]):
        for place in PLACES:
            if place not in instructions:
                raise ConfigError(f"The instructions for rewriting questions lack {place}.")
        self._model = model
        self._instructions = instructions
        self._fits = fits

    def rewrite(self, question: str, turns: Sequence[Turn]) -> str | None:
        """One call. None where nothing of use comes of it. Raises VideoLLMError."""
        said = []
        for turn in turns[-TURNS:]:
            answer = one_line(turn.answer)
            cut = answer[:_ANSWER_CHARACTERS] + ("…" if len(answer) > _ANSWER_CHARACTERS else "")
            said.append(block("TURN", [f"asked: {one_line(turn.asked)}", f"answered: {cut}"]))
        while not self._fits(prompt := self._prompt(question, said), _TOKENS):
            if len(said) < 2:
                return None
            del said[0]
        answer = until_it_repeats(self._model.generate(prompt, max_tokens=_TOKENS))
        pieces = list(without_thoughts(answer))
        lines = [line for line in answer_text(pieces).splitlines() if line.strip()]
        if len(lines) != 1 or pieces[-1].finish in ("length", REPEATED):
            return None
        written = lines[0].strip().strip("\"“”'` ")
        if _answers(written, question, " ".join(said)):
            return None
        if not any(map(str.isalnum, written)) or len(written) > max(_LONGEST, 3 * len(question)):
            return None
        # What videos say must not set filters: they are only those that were typed.
        return written if parse(written).text.split() == written.split() else None

    def _prompt(self, question: str, said: Sequence[str]) -> Prompt:
        given = {PLACES[0]: "\n".join(said), PLACES[1]: one_line(question)}
        return Prompt((_PLACE.sub(lambda place: given[place[0]], self._instructions),))


def _answers(written: str, question: str, conversation: str) -> bool:
    """Whether a model has answered a question, as small ones do, instead of writing it anew: what
    was asked is no question any more, or has numbers that nobody spoke of."""
    if _ASKS.search(question) and not _ASKS.search(written):
        return True
    return not numbers_in(written) <= numbers_in(question) | numbers_in(conversation)


class Chat:
    """A conversation about a library. rewriter: None goes by the rules of `rag.follow_up`, as does
    a model that fails.

    video: where questions are looked up, until it is set to another one; None: everywhere. A
    follow-up looks in the video that the answer before it was from, if that was one, and everywhere
    where that holds nothing.
    """

    def __init__(self, answerer: Answerer, library: Library, rewriter: Rewriter | None = None):
        self._answerer = answerer
        self.library = library
        self._rewriter = rewriter
        self.video: str | None = None
        self.turns: list[Turn] = []

    def focus(self, video: str | None) -> None:
        """video: id, path, file name or title; None: everywhere. Raises VideoNotFoundError."""
        self.video = None if video is None else self.library.find(video).id

    @property
    def sources(self) -> tuple[Source, ...]:
        """Of the last answer."""
        return self.turns[-1].sources if self.turns else ()

    def forget(self) -> None:
        """Begins anew; the focus stays."""
        self.turns.clear()

    def ask(
        self, question: str, told: Callable[[str], None] = lambda _text: None
    ) -> Iterator[AnswerEvent]:
        """The events of an answer, and its turn at their end, also where the caller closes the
        iterator. told: called with what the question was made into, before it is asked, and with
        why a model made nothing of it. Raises what `Answerer.ask` does; such a question leaves no
        turn."""
        asked, carried = self._standing_alone(question, told)
        if asked != question.strip():
            told(f"Asked as: {asked}")
        videos = (self.video,) if self.video is not None else carried
        record = _Record(Turn(question.strip(), asked, videos))
        try:
            yield from record.watch(self._answer(asked, videos, carried=self.video is None))
        except (GeneratorExit, KeyboardInterrupt):
            if record.begun:
                self.turns.append(record.turn)
            raise
        self.turns.append(record.turn)

    def _answer(
        self, asked: str, videos: tuple[str, ...], *, carried: bool
    ) -> Iterator[AnswerEvent]:
        if not (videos and carried):
            yield from self._answerer.ask(asked, videos=videos)
            return
        for event in self._answerer.ask(asked, videos=videos):
            if isinstance(event, Done) and not event.found and not event.detail.get("error"):
                break
            yield event
        else:
            return
        title = self.library.find(videos[0]).title
        again = f"“{title}” has nothing about it; looked everywhere."
        for event in self._answerer.ask(asked):
            if isinstance(event, Sources) and not event.again:
                event = replace(event, again=again)
            yield event

    def _standing_alone(
        self, question: str, told: Callable[[str], None]
    ) -> tuple[str, tuple[str, ...]]:
        """The question as it is to be asked, and the video that it takes over."""
        question = question.strip()
        if not self.turns or not any(map(str.isalnum, question)):
            return question, ()
        last = self.turns[-1]
        languages = TextStatistics(self.library.store).analyzers()
        follows = leans(question, languages)
        written = None
        if self._rewriter is not None:
            try:
                written = self._rewriter.rewrite(question, self.turns)
            except VideoLLMError as error:
                told(f"The model did not write the question anew ({error}); rules did.")
        if written is None:
            written = follow_up(question, last.asked, languages) if follows else question
        same = follows or about_the_video(question)
        return written, _one_video(last) if same and not parse(question).videos else ()


class _Record:
    """Keeps what an answer comes to. begun: something came."""

    def __init__(self, turn: Turn):
        self.turn = turn
        self.begun = False

    def watch(self, events: Iterator[AnswerEvent]) -> Iterator[AnswerEvent]:
        for event in events:
            self.begun = True
            turn = self.turn
            match event:
                case Sources(sources=sources, again=again):
                    self.turn = replace(
                        turn,
                        sources=sources,
                        answer="" if again else turn.answer,
                        cited=() if again else turn.cited,
                    )
                case Token(text=text):
                    self.turn = replace(turn, answer=turn.answer + text)
                case Citation(source=source) if source not in turn.cited:
                    self.turn = replace(turn, cited=(*turn.cited, source))
            yield event


def _one_video(turn: Turn) -> tuple[str, ...]:
    """The video that an answer was from, where it was one."""
    named = {source.moment.video_id for source in turn.cited}
    if len(named) == 1:
        return tuple(named)
    return turn.videos if len(turn.videos) == 1 and not named else ()
