"""Answers by a language model: shown what was found, streamed, cited, checked, and asked again with
further evidence where it does not find the answer (VideoICL: Kim et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from index.errors import UsageError
from index.schema import AnswerEvent, Citation, Done, Source, Sources, Token
from ingest.models.videollm import (
    ContextOverflowError,
    Piece,
    VideoLLM,
    VideoLLMError,
)
from rag.answer import NOTHING, coverage_note
from rag.answer_settings import AskSettings
from rag.checked import SentenceChecker
from rag.citations import CitationParser
from rag.contexts import Evidence, evidence_for
from rag.corpus import answer_corpus, corpus_question
from rag.in_parts import Notes, read_parts
from rag.material import Gatherer, Line, Scene
from rag.named_things import things_in
from rag.prompt import Built, PromptBuilder
from rag.question_kind import Opinion
from rag.repeating import REPEATED, until_it_repeats
from rag.retrieve import Retriever
from rag.settings import AnswerSettings
from rag.support import SupportScorer
from rag.unseen import (
    is_marker,
    lowest_probability,
    may_become_marker,
    says_unseen,
    without_thoughts,
)

SHRINK = 0.5
"""Of a prompt that was too long for the model, once."""


@dataclass(slots=True)
class _Attempt:
    """What came of asking once. begun: something was said. events: what was told of it."""

    built: Built
    events: list[AnswerEvent] = field(default_factory=list)
    text: str = ""
    pieces: list[Piece] = field(default_factory=list)
    invented: int = 0
    checker: SentenceChecker | None = None
    error: VideoLLMError | None = None
    interrupted: bool = False

    @property
    def cites(self) -> bool:
        return any(isinstance(event, Citation) for event in self.events)

    @property
    def told(self) -> bool:
        return any(isinstance(event, Token) for event in self.events)

    @property
    def unseen(self) -> bool:
        return not self.text.strip() or says_unseen(self.text, cites=self.cites)

    @property
    def broken(self) -> bool:
        return self.error is not None or self.interrupted

    @property
    def lowest(self) -> float | None:
        return lowest_probability(self.pieces)


@dataclass(slots=True)
class _Course:
    """How an answer came about so far. things: that are looked for on the pictures. sources: that
    were shown. again: why an answer begins anew, where one does."""

    things: Sequence[str]
    notes: list[str]
    sources: tuple[Source, ...] = ()
    tried: list[_Attempt] = field(default_factory=list)
    again: str = ""


class ModelAnswerer:
    """An `rag.answer.Answerer` with a language model behind it.

    builder: makes the prompts. scorer: makes what sentences are held against their sources with;
    None: they are not. noting: makes the prompts by which a long video is read in parts; None: what
    does not fit is left out. opinion: on the kind of a question that no rule knows.

    `Done.detail` says what was done: `model`, `context`, `kind` of the question, `attempts`,
    `tokens` and `pictures` of the last prompt, `left_out` lines that did not fit, `sentences` by
    verdict, `dropped` ones, `invented` citations, `confidence` (the lowest probability of a token)
    where the model tells it, things that are `looked_for` on the pictures by a detector, `notes`,
    `error` where it broke off in the middle, `interrupted`, `cut_off` where it ran out of tokens,
    `repeated` where it was stopped because it went round in a circle.
    """

    def __init__(
        self,
        retriever: Retriever,
        model: VideoLLM,
        builder: PromptBuilder,
        settings: AskSettings,
        answer_settings: AnswerSettings | None = None,
        scorer: Callable[[], SupportScorer] | None = None,
        noting: PromptBuilder | None = None,
        opinion: Opinion | None = None,
    ):
        self._retriever = retriever
        self._model = model
        self._builder = builder
        self._settings = settings
        self._answer_settings = answer_settings or AnswerSettings()
        self._make_scorer = scorer
        self._noting = noting
        self._opinion = opinion
        self._scorer: SupportScorer | None = None

    def scorer(self) -> SupportScorer | None:
        """What sentences are held against their sources with."""
        if self._make_scorer is not None and self._scorer is None:
            self._scorer = self._make_scorer()
        return self._scorer

    def ask(self, question: str, *, videos: Sequence[str] = ()) -> Iterator[AnswerEvent]:
        """Raises, beside what `Answerer.ask` does, VideoLLMError where the model said nothing.
        Where it breaks off later, or somebody presses Ctrl-C, what was said so far is told and
        `Done` says so."""
        if not any(map(str.isalnum, question)):
            raise UsageError(f"“{question}” holds no word." if question.strip() else "Ask what?")
        note = coverage_note(self._retriever, question, videos)
        about_all = corpus_question(question) if self._settings.context == "retrieved" else None
        if about_all is not None:
            settings = self._answer_settings
            yield from answer_corpus(about_all, self._retriever, settings, videos, note)
            return
        evidence = evidence_for(question, self._retriever, self._settings, videos, self._opinion)
        detail = {
            "answerer": "model",
            "model": self._settings.model,
            "context": self._settings.context,
            "kind": evidence.kind,
        } | ({"coverage_note": note} if note else {})
        if not evidence.batches and self._settings.context != "none":
            yield Sources(())
            yield Token(NOTHING)
            yield Done(False, detail | {"attempts": 0, "notes": list(evidence.notes)})
            return
        yield from self._answer(question, evidence, detail)

    def _answer(
        self, question: str, evidence: Evidence, detail: dict
    ) -> Generator[AnswerEvent, None, None]:
        things: Sequence[str] = ()
        if self._builder.finder is not None:
            things = things_in(question) if evidence.things is None else evidence.things
            detail["looked_for"] = list(things)
        course = _Course(things, list(evidence.notes))
        yield from self._try_batches(question, evidence, course)
        if not course.tried:
            yield Sources(())
            yield Token(NOTHING)
            yield Done(False, detail | {"attempts": 0, "notes": course.notes})
            return
        last = course.tried[-1]
        if not last.broken and self._unsure(last) and (best := _surest(course.tried)) is not last:
            yield Sources(course.sources, "An earlier answer was the surer one.")
            yield from best.events
            last = best
        if last.unseen and not last.broken and not last.told:
            yield Token(NOTHING)
        done = self._detail(last, len(course.tried), course.notes)
        yield Done(not last.unseen or last.broken, detail | done)

    def _try_batches(
        self, question: str, evidence: Evidence, course: _Course
    ) -> Generator[AnswerEvent, None, None]:
        """Asks about one batch of what was found after the other, until one of them will do."""
        settings = self._settings
        gatherer = Gatherer(
            self._retriever.library,
            context_seconds=0.0 if evidence.covers else settings.context_seconds,
            side=settings.picture_side,
            words=evidence.words,
            pictures=evidence.pictures and settings.frames > 0,
            spread=evidence.covers,
        )
        for batch in evidence.batches[: settings.attempts] or ((),):
            scenes = gatherer.scenes(batch)
            if not scenes and settings.context != "none":
                continue
            read = self._read_in_parts(question, scenes, evidence, course)
            if read is not None and not read.parts:  # nothing in any of them matters
                continue
            yield from self._shown(question, scenes, read, evidence.covers, course)
            attempt = course.tried[-1]
            why = "" if attempt.broken else self._unsure(attempt)
            if not why:
                return
            course.again = f"{why} It is shown what was found next."

    def _shown(
        self,
        question: str,
        scenes: Sequence[Scene],
        read: Notes | None,
        covers: bool,
        course: _Course,
    ) -> Generator[AnswerEvent, None, None]:
        """One attempt; what is too long for the model is sent once more, shorter."""
        budget, overflow = self._settings.budget_tokens, None
        while True:
            first = len(course.sources) + 1
            built = self._build(question, scenes, read, budget, first, overflow, course.things)
            course.notes += [note for note in built.notes if note not in course.notes]
            if covers and read is None and built.left_out:
                course.notes.append(_unread(built.left_out, scenes))
            sources = (*course.sources, *built.sources)
            yield Sources(sources, course.again)
            attempt = _Attempt(built)
            try:
                yield from self._attempt(attempt)
            except ContextOverflowError as error:
                if overflow is not None:
                    raise
                overflow = error
                budget = int(built.tokens * SHRINK) + self._settings.answer_tokens
                course.again = "The model takes less than was sent, so it is shown half as much."
                course.notes.append(course.again)
                continue
            course.sources = sources
            course.tried.append(attempt)
            return

    def _read_in_parts(
        self,
        question: str,
        scenes: Sequence[Scene],
        evidence: Evidence,
        course: _Course,
    ) -> Notes | None:
        """Notes on all parts, where the videos have more words than fit; None where they fit."""
        if self._noting is None or evidence.kind == "local" or self._settings.parts < 2:
            return None
        if self._settings.context != "retrieved" or not scenes:
            return None
        count = self._noting.parts_needed(question, scenes)
        if count < 2:
            return None
        ordered = sorted(scenes, key=_place)
        count = min(count, self._settings.parts, len(ordered))
        read = read_parts(
            question, ordered, count, self._model, self._noting, self._settings, course.things
        )
        course.notes.append(f"It was read in {count} parts, and the answer is from notes on them.")
        if read.failed:
            course.notes.append(f"{len(read.failed)} of them could not be read: {read.failed[-1]}")
        if read.left_out:
            course.notes.append(_unread(read.left_out, scenes))
        return read

    def _build(
        self,
        question: str,
        scenes: Sequence[Scene],
        read: Notes | None,
        budget: int,
        number: int,
        overflow: ContextOverflowError | None,
        things: Sequence[str],
    ) -> Built:
        """overflow: why the budget was cut; raised where nothing fits into what is left."""
        try:
            if self._settings.context == "none":
                return self._builder.plain(question, budget=budget)
            if read is not None:
                made = (read.parts, read.sources, read.words)
                built = self._builder.from_notes(question, *made, budget=budget)
                return replace(built, frames=read.frames)
            built = self._builder.build(
                question, scenes, budget=budget, number=number, things=things
            )
            if not built.sources:
                raise UsageError(
                    f"Not one source fits into a budget of {budget} tokens beside the question and "
                    "the answer. Raise ask.budget_tokens, or lower ask.answer_tokens."
                )
        except UsageError:
            if overflow is not None:
                raise overflow from None
            raise
        return built

    def _attempt(self, attempt: _Attempt) -> Iterator[AnswerEvent]:
        """Asks once, and tells what comes. Raises where nothing came."""
        settings, built = self._settings, attempt.built
        parser = CitationParser({source.number: source for source in built.sources})
        words: dict[int, tuple[Line, ...]] = built.words
        scorer = self.scorer() if built.sources else None
        checker = SentenceChecker(words, scorer, settings.check, strict=settings.strict)
        attempt.checker = checker
        head: str | None = ""

        def told(text: str) -> list[AnswerEvent]:
            events = checker.feed(parser.feed(text))
            attempt.events += events
            return events

        said = self._model.generate(
            built.prompt,
            max_tokens=settings.answer_tokens,
            temperature=settings.temperature,
            logprobs=settings.confidence is not None,
        )
        pieces = without_thoughts(until_it_repeats(said))
        try:
            for piece in pieces:
                attempt.pieces.append(piece)
                attempt.text += piece.text
                if head is None:
                    yield from told(piece.text)
                    continue
                head += piece.text
                if is_marker(head):
                    continue
                if not may_become_marker(head):
                    text, head = head.lstrip(), None
                    yield from told(text)
        except VideoLLMError as error:
            if not attempt.text.strip():
                raise
            attempt.error = error
        except KeyboardInterrupt:
            attempt.interrupted = True
        finally:
            pieces.close()
        if head and not is_marker(head):
            yield from told(head)
        rest = checker.feed(parser.finish()) + checker.finish()
        attempt.events += rest
        attempt.invented = parser.invented
        yield from rest

    def _unsure(self, attempt: _Attempt) -> str:
        """Why further evidence is called for; "" where it is not."""
        if attempt.unseen:
            return "The model does not find the answer there."
        floor, lowest = self._settings.confidence, attempt.lowest
        if floor is not None and lowest is not None and lowest < floor:
            return f"The model is not sure (its least likely word has {lowest:.2f})."
        return ""

    def _detail(self, attempt: _Attempt, attempts: int, notes: list[str]) -> dict:
        checker = attempt.checker
        finish = attempt.pieces[-1].finish if attempt.pieces else None
        found = {
            "attempts": attempts,
            "tokens": attempt.built.tokens,
            "pictures": attempt.built.frames,
            "left_out": attempt.built.left_out,
            "invented": attempt.invented,
            "sentences": dict(checker.verdicts) if checker else {},
            "dropped": checker.left_out if checker else 0,
            "notes": notes,
        }
        if attempt.lowest is not None:
            found["confidence"] = round(attempt.lowest, 4)
        if why := {"length": "cut_off", REPEATED: "repeated"}.get(finish or ""):
            found[why] = True
        if attempt.error is not None:
            found["error"] = str(attempt.error)
        if attempt.interrupted:
            found["interrupted"] = True
        return found


def _unread(lines: int, scenes: Sequence[Scene]) -> str:
    whole = sum(len(scene.lines) for scene in scenes)
    return f"{lines} of {whole} lines that are said and written there do not fit, and are not read."


def _place(scene: Scene) -> tuple[str, str, int, float]:
    moment = scene.moment
    return moment.title, moment.video_id, moment.epoch, moment.start_seconds


def _surest(tried: Sequence[_Attempt]) -> _Attempt:
    """The last one, unless it found nothing where another did, or another was surer."""

    def rank(at: int) -> tuple[bool, float, int]:
        return not tried[at].unseen, tried[at].lowest or 0.0, at

    return tried[max(range(len(tried)), key=rank)]
