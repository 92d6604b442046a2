"""A question about videos that are longer than the budget: each part is read by itself, and the
answer is put together from the notes (map and reduce).

Notes keep the numbers of the sources that they are from, so that an answer cites places in the
videos, and its sentences are held against what is said there and not against the notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from index.schema import Citation, Source
from ingest.models.videollm import Prompt, VideoLLM, VideoLLMError
from rag.answer_settings import AskSettings
from rag.citations import CitationParser
from rag.delimited import one_line
from rag.material import Line, Scene
from rag.prompt import Built, PromptBuilder
from rag.repeating import until_it_repeats
from rag.timestamp import time_span
from rag.unseen import says_unseen, without_thoughts


@dataclass(slots=True)
class Notes:
    """What was noted of all parts. parts: (a heading for the part, its notes' lines, with
    citations). frames: pictures looked at. failed: errors of parts that were not read. left_out:
    lines that did not fit into their part."""

    parts: list[tuple[str, list[str]]] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    words: dict[int, tuple[Line, ...]] = field(default_factory=dict)
    frames: int = 0
    read: int = 0
    left_out: int = 0
    failed: list[VideoLLMError] = field(default_factory=list)


def read_parts(
    question: str,
    scenes: Sequence[Scene],
    count: int,
    model: VideoLLM,
    builder: PromptBuilder,
    settings: AskSettings,
    things: Sequence[str] = (),
) -> Notes:
    """Reads the scenes, in the order of time, in `count` parts. builder: with instructions to take
    notes. things: to be looked for on the pictures. Raises VideoLLMError where no part could be
    read."""
    notes = Notes()
    count = min(count, len(scenes))
    built: list[tuple[str, Built]] = []

    def prompts() -> Iterator[Prompt]:
        for at in range(count):
            part = scenes[at * len(scenes) // count : (at + 1) * len(scenes) // count]
            made = builder.build(question, part, number=len(notes.sources) + 1, things=things)
            built.append((_heading(part), made))
            notes.sources += made.sources
            notes.words |= made.words
            notes.frames += made.frames
            notes.left_out += made.left_out
            yield made.prompt

    for at, answer in enumerate(ask_each(prompts(), model, settings)):
        heading, made = built[at]
        if isinstance(answer, VideoLLMError):
            notes.failed.append(answer)
            continue
        notes.read += 1
        if lines := _lines(answer, made.sources):
            notes.parts.append((heading, lines))
    if notes.failed and not notes.read:
        raise notes.failed[-1]
    return notes


def ask_each(
    prompts: Iterator[Prompt], model: VideoLLM, settings: AskSettings
) -> Iterator[str | VideoLLMError]:
    """What the model answers to each, in their order, or why it does not. Several are on their way
    to a server at once."""

    def ask(prompt: Prompt) -> str | VideoLLMError:
        try:
            pieces = model.generate(
                prompt, max_tokens=settings.answer_tokens, temperature=settings.temperature
            )
            pieces = without_thoughts(until_it_repeats(pieces))
            return "".join(piece.text for piece in pieces)
        except VideoLLMError as error:
            return error

    if not model.remote:
        yield from map(ask, prompts)
        return
    from ingest.models.videollm.inflight import in_order

    for answer in in_order(ask, prompts, settings.concurrency):
        if answer is not None:  # None says that it still waits
            yield answer


def _lines(answer: str, sources: Sequence[Source]) -> list[str]:
    """The notes as data, with the citations of sources that exist."""
    cites = False
    lines = []
    for line in answer.splitlines():
        parser = CitationParser({source.number: source for source in sources})
        text = ""
        for event in parser.feed(line) + parser.finish():
            if isinstance(event, Citation):
                cites = True
                text += f" [{event.source.number}]"
            else:
                text += one_line(f"x{event.text}x")[1:-1]  # with the space at its ends
        if text.strip():
            lines.append(text.strip())
    return [] if says_unseen(answer, cites=cites) else lines


def _heading(part: Sequence[Scene]) -> str:
    first, last = part[0].moment, part[-1].moment
    title = one_line(first.title).replace('"', "'")
    if first.video_id == last.video_id:
        return f'NOTES on "{title}", {time_span(first.start_seconds, last.end_seconds)}'
    return f'NOTES from "{title}" to "{one_line(last.title)}"'.replace("\n", " ")
