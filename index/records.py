"""How the data model lies in the store: each record as a point, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from index.convert import convert
from index.schema import Evidence, Generation, Segment, Space, Video, make_id, microseconds
from index.store import Point


def _span(start_seconds: float, end_seconds: float) -> dict[str, Any]:
    return {
        "start_us": microseconds(start_seconds),
        "start_seconds": start_seconds,
        "end_seconds": end_seconds,
    }


def video_point(video: Video) -> Point:
    record = msgspec.to_builtins(video)
    return Point(
        make_id("video", video.id), {"kind": "video", "video_id": video.id, "record": record}
    )


def video_from(payload: Mapping[str, Any]) -> Video:
    return convert(payload["record"], Video)


def generation_point(generation: Generation) -> Point:
    return Point(
        generation.id,
        {
            "kind": "generation",
            "video_id": generation.video_id,
            "channel": generation.channel,
            "generation": generation.id,
            "state": generation.state,
            "complete": generation.complete,
            "record": msgspec.to_builtins(generation),
        },
    )


def generation_from(payload: Mapping[str, Any]) -> Generation:
    return convert(payload["record"], Generation)


def evidence_point(evidence: Evidence) -> Point:
    return Point(
        evidence.id,
        {
            "kind": "evidence",
            "video_id": evidence.video_id,
            "epoch": evidence.epoch,
            "channel": evidence.channel,
            "generation": evidence.generation,
            **_span(evidence.start_seconds, evidence.end_seconds),
            "text": evidence.text,
            "attributes": dict(evidence.attributes),
            "key": evidence.key,
        },
        dict(evidence.vectors),
    )


def evidence_from(point: Point) -> Evidence:
    payload = point.payload
    return Evidence(
        video_id=payload["video_id"],
        epoch=payload["epoch"],
        channel=payload["channel"],
        generation=payload["generation"],
        start_seconds=payload["start_seconds"],
        end_seconds=payload["end_seconds"],
        text=payload["text"],
        attributes=payload["attributes"],
        vectors=point.vectors,
        key=payload["key"],
    )


def segment_point(segment: Segment) -> Point:
    return Point(
        segment.id,
        {
            "kind": "segment",
            "video_id": segment.video_id,
            "epoch": segment.epoch,
            "channel": "segment",
            "generation": segment.generation,
            **_span(segment.start_seconds, segment.end_seconds),
            "title": segment.title,
            "summary": segment.summary,
        },
    )


def segment_from(payload: Mapping[str, Any]) -> Segment:
    return Segment(
        payload["video_id"],
        payload["epoch"],
        payload["generation"],
        payload["start_seconds"],
        payload["end_seconds"],
        payload["title"],
        payload["summary"],
    )


def space_point(space: Space, *, stamp: str) -> Point:
    """stamp: of this writing, see Library.add_space."""
    record = msgspec.to_builtins(space)
    return Point(
        make_id("space", space.name),
        {"kind": "space", "space": space.name, "stamp": stamp, "record": record},
    )


def space_from(payload: Mapping[str, Any]) -> Space:
    return convert(payload["record"], Space)
