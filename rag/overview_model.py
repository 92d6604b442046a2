"""An overview by a language model: a title and a sentence for each chapter, and a summary as `ask`
makes one (in parts, where the video is long), of which only what its sources support is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from index.library import Library
from index.schema import Checked, Citation, Done, Moment, Source, Sources, Token, Video
from ingest.models.videollm import Prompt, VideoLLM, VideoLLMError
from rag.answer_settings import AskSettings
from rag.checked import SentenceChecker
from rag.delimited import one_line
from rag.generate import ModelAnswerer
from rag.in_parts import ask_each
from rag.material import Gatherer, Line
from rag.overview import ChapterNote, Overview, Said
from rag.prompt import PromptBuilder
from rag.sentences import sentences
from rag.support import SupportScorer
from rag.timestamp import time_span
from rag.unseen import says_unseen

QUESTION = "Summarise this video: what it is about, and its main points, in the order of time."
"""Asked of `ask` for the summary."""

LONGEST_TITLE = 100
LONGEST_TEXT = 400
_KEPT = ("supported", "unchecked")
_CITATION = re.compile(r"\s*(?:\[(?:sources?\s*)?[\d\s,;–-]+\]|【[^】]*】)", re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:[-*•#>]+\s*)*(?:title|summary|sentence)\s*[:：]\s*", re.IGNORECASE)
_ECHO = re.compile(
    r"\d:\d\d(?:\.\d)? (?:said|on screen|described|objects|heard): .*|(?:‹‹‹|›››|SOURCE \d+:).*"
)
"""The prompt's own lines, which small models write on with."""
_MARKS = "*_`#\"'“”«»„ \t"


def write_overview(
    library: Library,
    video: Video,
    plain: Overview,
    answerer: ModelAnswerer,
    model: VideoLLM,
    builder: PromptBuilder,
    settings: AskSettings,
) -> Overview:
    """plain: the overview without a model, whose chapters it keeps, and whose words stand where the
    model has none. builder: with the instructions for chapters. The container's titles stay.

    Raises VideoLLMError where the model answered nothing at all.
    """
    notes: list[str] = []
    scorer = answerer.scorer()
    chapters = _chapters(library, video, plain, model, builder, settings, scorer, notes)
    summary = _summary(video, answerer, notes)
    if not summary:
        notes.append("The model's summary had no support; the sentences are the video's own.")
    return replace(
        plain,
        chapters=tuple(chapters),
        summary=tuple(summary) or plain.summary,
        model=settings.model,
        notes=tuple(notes),
    )


def _chapters(
    library: Library,
    video: Video,
    plain: Overview,
    model: VideoLLM,
    builder: PromptBuilder,
    settings: AskSettings,
    scorer: SupportScorer | None,
    notes: list[str],
) -> list[ChapterNote]:
    gatherer = Gatherer(
        library,
        context_seconds=0.0,
        side=settings.picture_side,
        pictures=settings.frames > 0,
        spread=True,
    )
    path = video.files[0].path if video.files else None
    asked: list[tuple[int, tuple[Source, ...], Mapping[int, Sequence[Line]]]] = []

    def prompts() -> Iterator[Prompt]:
        for at, one in enumerate(plain.chapters):
            span = (one.start_seconds, one.end_seconds)
            scenes = gatherer.scenes(
                [Moment(video.id, 0, video.title, path, *span, 1.0, "segment")]
            )
            if scenes:
                where = f"These are of the chapter at {time_span(*span)}: its title, its sentence."
                built = builder.build(where, scenes)
                asked.append((at, built.sources, built.words))  # without its pictures
                yield built.prompt

    chapters = list(plain.chapters)
    failed: list[VideoLLMError] = []
    left_out = 0
    for number, answer in enumerate(ask_each(prompts(), model, settings)):
        at, sources, words = asked[number]
        if isinstance(answer, VideoLLMError):
            failed.append(answer)
            continue
        title, text = read_chapter(answer)
        text, dropped = _supported(
            text, sources, partial(SentenceChecker, words, scorer, settings.check)
        )
        left_out += dropped
        kept = chapters[at]
        own = kept.title if plain.source == "container" and kept.title else title or kept.title
        chapters[at] = replace(kept, title=own, text=text or kept.text)
    if failed:
        if len(failed) == len(asked):
            raise failed[-1]
        notes.append(f"{len(failed)} chapters could not be read: {failed[-1]}")
    if left_out:
        notes.append(f"{left_out} sentences about chapters without support were left out.")
    return chapters


def _supported(
    text: str, sources: Sequence[Source], checker_of: Callable[[], SentenceChecker]
) -> tuple[str, int]:
    """Of what a model says about a chapter, the sentences that the chapter supports, or of which
    nobody can tell, each once; and how many others there were."""
    kept: dict[str, None] = {}
    left_out = 0
    for start, end in sentences(text):
        sentence = text[start:end].strip()
        checker = checker_of()
        checker.feed([Token(sentence), *map(Citation, sources)])
        checker.finish()
        if checker.verdicts["unsupported"] or checker.verdicts["uncited"]:
            left_out += 1
        elif sentence:
            kept[sentence] = None
    return " ".join(kept), left_out


def read_chapter(answer: str) -> tuple[str, str]:
    """Title and sentence of a model's answer; "" for what is not there, or is no title."""
    if says_unseen(answer, cites=False):
        return "", ""
    lines = [one_line(_CITATION.sub("", line)) for line in answer.splitlines()]
    if any(lines) and _ECHO.match(next(filter(None, lines))):  # it writes the prompt on
        return "", ""
    lines = [_LABEL.sub("", _ECHO.sub("", line)).strip(_MARKS) for line in lines]
    title, *rest = [line for line in lines if line] or [""]
    if len(title) > LONGEST_TITLE:  # it has begun to tell
        title, rest = "", [title, *rest]
    return title.rstrip(".。").strip(_MARKS), _cut(" ".join(rest))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return text[:LONGEST_TEXT].rsplit(" ", 1)[0] + "…"


def _summary(video: Video, answerer: ModelAnswerer, notes: list[str]) -> list[Said]:
    """The sentences that their sources support, or that cite pictures, each with its first
    source's time."""
    said: list[Said] = []
    cited: Moment | None = None
    left_out = 0
    for event in answerer.ask(QUESTION, videos=[video.id]):
        match event:
            case Sources():
                said, cited, left_out = [], None, 0
            case Citation(source=source):
                cited = cited or source.moment
            case Checked(sentence=sentence, verdict=verdict):
                if verdict in _KEPT and cited is not None:
                    span = (cited.start_seconds, cited.end_seconds)
                    said.append(Said(*span, _LABEL.sub("", one_line(sentence)).lstrip("-*• ")))
                else:
                    left_out += 1
                cited = None
            case Done(detail=detail):
                notes += [str(note) for note in detail.get("notes", ())]
                if error := detail.get("error"):
                    notes.append(f"The summary broke off: {error}")
    if left_out:
        notes.append(f"{left_out} sentences of the summary without support were left out.")
    return said
