"""Models that questions need beside the one that answers, loaded from the settings when they are
first asked: a part of the composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.settings import Settings
from index.errors import ModelMissingError
from ingest.models.depot import Depot
from ingest.models.device import likely_device

if TYPE_CHECKING:
    from ingest.models.detector import OpenVocabularyDetector
    from ingest.models.encoders import TextReranker
    from rag.detected import Finder


def load_reranker(settings: Settings) -> TextReranker:
    """What was prepared needs no torch; on a GPU torch is the faster way. Raises
    ModelMissingError."""
    given, models = settings.retrieve.rerank, settings.models
    depot = Depot(models.dir, models.packages)
    files = depot.files("reranker", given.model)
    device = likely_device(models.device)
    if device == "cpu" and depot.prepared(files):
        from ingest.models.reranker_onnx import OnnxReranker

        return OnnxReranker(files, threads=models.threads, max_tokens=given.max_tokens)
    from ingest.models.reranker import TransformersReranker

    return TransformersReranker(files, device=device, max_tokens=given.max_tokens)


def build_finder(settings: Settings) -> Finder:
    """What looks for the things that a question names. Loads nothing."""
    from rag.detected import Finder

    given = settings.channels.object
    return Finder(
        lambda: _load_detector(settings), threshold=given.minimum_confidence, batch=given.batch
    )


def _load_detector(settings: Settings) -> OpenVocabularyDetector:
    """Raises ModelMissingError."""
    from ingest.models.detector import OpenVocabularyDetector

    given, models = settings.channels.object, settings.models
    device = likely_device(models.device)
    depot = Depot(models.dir, models.packages)
    try:
        files = depot.files("detector", given.model or Depot.default("detector", device))
        return OpenVocabularyDetector(files, device=device, overlap=given.overlap)
    except ModelMissingError as error:
        raise ModelMissingError(f"{error} Or ask without it: --set ask.detect=false.") from error
