"""Each family of local Video-LLMs is told in its own way when a frame is shown.

Frames that follow each other in the prompt, and are of one size, are one stretch of video:

* Qwen3-VL writes `<12.3 seconds>` before each pair of frames, the mean of their two times. Every
  frame is given twice, so that each stands at its own time and none is blended with one from
  seconds away (Qwen3-VL report, 2025).
* Qwen2.5-VL knows time only as an even step, which its position ids take from the sampling rate
  (Qwen2.5-VL report, 2025, "absolute time encoding"). A stretch with an even step goes in as video,
  each frame twice as above, after a line that says where it lies. One without goes in as pictures
  with their times in words.
* SmolVLM2 writes "Frame from 01:05:" before each frame.
* LLaVA-OneVision has no place for times; the line that LLaVA-Video was trained with (Zhang et al.
  2024) comes before the stretch.
* Any other model gets pictures with their times in words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ingest.models.videollm import Frame, Prompt

_EVEN = 0.02
"""Share of the mean step that a step may differ by and still count as even."""

_TICKS_PER_SECOND = 1000
"""The libraries take times as frame numbers and a frame rate; so milliseconds are numbers."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames as one video. frames: uint8 of shape (count, height, width, 3). indices: their times
    in ticks of 1/rate seconds. total: how many frames there would be at that rate."""

    frames: np.ndarray
    indices: tuple[int, ...]
    rate: float
    total: int
    duration_seconds: float


@dataclass(slots=True)
class Chat:
    """A prompt as a chat template takes it, and the pictures that its placeholders stand for."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    videos: list[Stretch] = field(default_factory=list)


def arrange(model_type: str, prompt: Prompt, plain: Callable[[str], str]) -> Chat:
    """model_type: as in the model's config.json. plain: takes a text's control tokens out of it,
    so that nothing said or written in a video can end the user's turn."""
    chat = Chat()
    content: list[dict[str, Any]] = []
    add = _family(model_type)
    runs = _runs(prompt.parts)
    if add is _as_llava:
        runs = _alike(runs)
    for run in runs:
        if isinstance(run, str):
            content.append({"type": "text", "text": plain(run)})
        else:
            add(chat, content, run)
    chat.messages = [{"role": "user", "content": content}]
    if prompt.system:
        text = [{"type": "text", "text": plain(prompt.system)}]
        chat.messages.insert(0, {"role": "system", "content": text})
    return chat


def tidy_placeholders(model_type: str, text: str) -> str:
    """text: from the chat template. Qwen3-VL's puts vision marks around a video, and its processor
    puts them around each frame of it. As it first came (transformers 4.57), and in vLLM, the latter
    replaced the former; in transformers 5.23 both stay unless the former are taken out here."""
    if _family(model_type) is not _as_qwen3:
        return text
    return text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")


def _family(model_type: str) -> Callable[[Chat, list[dict[str, Any]], Sequence[Frame]], None]:
    if model_type.startswith(("qwen3_vl", "qwen3_5")):
        return _as_qwen3
    if model_type.startswith(("qwen2_5_vl", "qwen2_vl")):
        return _as_qwen2
    if model_type.startswith("smolvlm"):
        return _as_smolvlm
    if model_type.startswith("llava_onevision"):
        return _as_llava
    return _as_pictures


def _runs(parts: Sequence[str | Frame]) -> list[str | list[Frame]]:
    runs: list[str | list[Frame]] = []
    for part in parts:
        if isinstance(part, str):
            runs.append(part)
        elif runs and isinstance(runs[-1], list) and runs[-1][-1].image.shape == part.image.shape:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _alike(runs: list[str | list[Frame]]) -> list[str | list[Frame]]:
    """LLaVA-OneVision's processor stacks videos, so all must be of one length: stretches that are
    not are cut into single frames."""
    if len({len(run) for run in runs if not isinstance(run, str)}) < 2:
        return runs
    cut: list[str | list[Frame]] = []
    for run in runs:
        cut += [run] if isinstance(run, str) else [[frame] for frame in run]
    return cut


def _as_qwen3(chat: Chat, content: list[dict[str, Any]], run: Sequence[Frame]) -> None:
    chat.videos.append(_timed([frame for frame in run for _ in range(2)]))
    content.append({"type": "video"})


def _as_qwen2(chat: Chat, content: list[dict[str, Any]], run: Sequence[Frame]) -> None:
    steps = np.diff([frame.time_seconds for frame in run])
    even = len(steps) > 0 and np.abs(steps - steps.mean()).max() <= _EVEN * steps.mean()
    if not even:
        _as_pictures(chat, content, run)
        return
    first, last = run[0].time_seconds, run[-1].time_seconds
    text = f"Video from {first:.1f} to {last:.1f} seconds:"
    content += [{"type": "text", "text": text}, {"type": "video"}]
    frames = np.repeat(np.stack([frame.image for frame in run]), 2, axis=0)
    rate = 2 / float(steps.mean())
    count = len(frames)
    chat.videos.append(Stretch(frames, tuple(range(count)), rate, count, count / rate))


def _as_smolvlm(chat: Chat, content: list[dict[str, Any]], run: Sequence[Frame]) -> None:
    chat.videos.append(_timed(run))
    content.append({"type": "video"})


def _as_llava(chat: Chat, content: list[dict[str, Any]], run: Sequence[Frame]) -> None:
    text = llava_times([frame.time_seconds for frame in run])
    content += [{"type": "video"}, {"type": "text", "text": text}]
    chat.videos.append(_timed(run))


def llava_times(times: Sequence[float]) -> str:
    """The line that tells LLaVA-OneVision when its frames are shown."""
    located = ",".join(f"{time:.2f}s" for time in times)
    return (
        f"The video lasts for {times[-1] - times[0]:.2f} seconds, and {len(times)} frames are "
        f"sampled from it. These frames are located at {located}."
    )


def _as_pictures(chat: Chat, content: list[dict[str, Any]], run: Sequence[Frame]) -> None:
    for frame in run:
        content.append({"type": "text", "text": f"Frame at {frame.time_seconds:.1f} seconds:"})
        content.append({"type": "image"})
        chat.images.append(frame.image)


def _timed(run: Sequence[Frame]) -> Stretch:
    ticks = tuple(round(frame.time_seconds * _TICKS_PER_SECOND) for frame in run)
    return Stretch(
        np.stack([frame.image for frame in run]),
        ticks,
        float(_TICKS_PER_SECOND),
        ticks[-1] + 1,
        (ticks[-1] + 1) / _TICKS_PER_SECOND,
    )
