"""What a question is answered from: moments that were found, or stretches that cover the videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from index.errors import UsageError
from index.schema import ChannelHit, Moment
from rag.answer_settings import CONTEXTS, AskSettings
from rag.fuse import only_about
from rag.material import WORDS
from rag.query import parse
from rag.question_kind import Kind, Opinion, question_kind
from rag.retrieve import Retriever
from rag.scope import Scope
from rag.settings import MOST_MOMENTS


@dataclass(frozen=True, slots=True)
class Evidence:
    """batches: moments, each shown together, the best first; a further one where the one before
    did not do. kind: of the question. words: channels whose words are shown. pictures: whether
    pictures are. covers: the moments are stretches that cover videos. notes: sentences for the
    user. things: that the question names, as a planner sees it; None where no planner has said."""

    batches: tuple[tuple[Moment, ...], ...]
    kind: Kind
    words: tuple[str, ...] = WORDS
    pictures: bool = True
    covers: bool = False
    notes: tuple[str, ...] = ()
    things: tuple[str, ...] | None = None


def evidence_for(
    question: str,
    retriever: Retriever,
    settings: AskSettings,
    videos: Sequence[str],
    opinion: Opinion | None = None,
) -> Evidence:
    """By `settings.context`: "retrieved" goes by the kind of the question, "uniform" gives pictures
    of the whole, "subtitles" what is said in the whole, "none" nothing. opinion: is asked where no
    rule knows the question's kind and it matters.

    Raises UsageError, VideoNotFoundError, and what a search raises.
    """
    context = settings.context
    if context not in CONTEXTS:
        raise UsageError(f"No context “{context}”. Known: {', '.join(CONTEXTS)}.")
    query = parse(question)
    kind = question_kind(query.quoted)
    if context == "none":
        return Evidence((), kind, (), False)
    scope = Scope.of(query, retriever.library, videos)
    if context == "uniform":
        return _covering(retriever, scope, settings, kind, words=())
    if context == "subtitles":
        return _covering(retriever, scope, settings, kind, words=("speech",), pictures=False)
    if kind == "local" and opinion is not None:
        kind = opinion(question) or kind
    if kind == "global":
        return _covering(retriever, scope, settings, kind)
    looked_in = scope.looked_in(retriever.library)
    count = settings.stretches if kind == "count" else settings.moments
    most = min(count * settings.attempts, MOST_MOMENTS)
    result = retriever.search(question, videos=videos, limit=most)
    notes = result.notes
    if kind == "count":
        if len(looked_in) <= settings.stretches:  # to count, all of it has to be read
            return _covering(
                retriever, scope, settings, kind,
                notes=notes, found=result.moments, things=result.things,
            )  # fmt: skip
        told = f"Of {len(looked_in)} videos only the {count} best moments found are read"
        notes = (*notes, f"{told}, so there may be more (ask.stretches).")
    moments = tuple(one for one in result.moments if not only_about(one))
    if not moments and len(looked_in) == 1:
        # What is asked may be seen there though nothing says so.
        note = (
            f"Nothing was found by searching; the answer is from a view of “{looked_in[0].title}”."
        )
        notes = (*notes, note)
        return _covering(retriever, scope, settings, kind, notes=notes, things=result.things)
    batches = tuple(moments[at : at + count] for at in range(0, len(moments), count))
    return Evidence(batches, kind, notes=notes, things=result.things)


def _covering(
    retriever: Retriever,
    scope: Scope,
    settings: AskSettings,
    kind: Kind,
    *,
    words: tuple[str, ...] = WORDS,
    pictures: bool = True,
    notes: tuple[str, ...] = (),
    found: Sequence[Moment] = (),
    things: tuple[str, ...] | None = None,
) -> Evidence:
    """found: what a search found there, which is read first where not all can be."""
    from rag.stretched import stretches

    videos = scope.looked_in(retriever.library)
    whole = scope.clipped(stretches(retriever.library, videos, settings.stretches))
    shown = tuple(replace(one, hits=_hits(found, one)) if found else one for one in whole)
    known = {one.video_id for one in shown}
    if shown and (missing := sum(video.id not in known for video in videos)):
        notes = (*notes, f"Of {len(videos)} videos {missing} are not shown (ask.stretches).")
    return Evidence((shown,) if shown else (), kind, words, pictures, True, notes, things)


def _hits(found: Sequence[Moment], stretch: Moment) -> tuple[ChannelHit, ...]:
    return tuple(
        hit
        for one in found
        if (one.video_id, one.epoch) == (stretch.video_id, stretch.epoch)
        and one.start_seconds < stretch.end_seconds
        and stretch.start_seconds < one.end_seconds
        for hit in one.hits
    )
