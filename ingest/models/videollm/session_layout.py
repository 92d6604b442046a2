"""How each family of local Video-LLMs is told a stream: what stands before it, around each of its
frames, and behind it when a question comes.

The words are those of `ingest.models.videollm.families`, so that a stream and a prompt with the
same frames read the same, but for two: Qwen2.5-VL always gets pictures with their times in words,
since a stream has no even step to count on, and SmolVLM2's opening line names neither the number of
frames nor the length, which nobody knows yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from index.errors import ModelMissingError
from ingest.models.videollm.families import llava_times

SUPPORTED = {
    "qwen3_vl": "Qwen3-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "llava_onevision": "LLaVA-OneVision",
    "smolvlm": "SmolVLM2",
}
"""`model_type` of config.json, and what people call it."""


LOCATED = 64
"""Times that LLaVA-OneVision is told behind a stream; of more frames, one in two, three, ..."""


@dataclass(frozen=True, slots=True)
class Layout:
    """mark: the placeholder in the chat template's text. kind: "video" or "image", as which frames
    are given. pad: the token that a frame's features take the place of. opening, closing: words
    before the first frame and behind the last. newline: whether an embedding of the model's own
    closes the video. repeat: how often a frame is given, where the model takes several as one."""

    kind: str
    mark: str
    pad: str
    opening: str = ""
    closing: str = ""
    newline: bool = False
    repeat: int = 1

    def around(self, time_seconds: float) -> tuple[str, str]:
        """What stands before and behind the frame of that time."""
        raise NotImplementedError

    def behind(self, times: Sequence[float]) -> str:
        """What stands between the stream and the question. times: of the frames looked back at."""
        return self.closing


class _Qwen3(Layout):
    def around(self, time_seconds: float) -> tuple[str, str]:
        return f"<{round(time_seconds, 3):.1f} seconds><|vision_start|>", "<|vision_end|>"


class _Qwen2(Layout):
    def around(self, time_seconds: float) -> tuple[str, str]:
        return f"Frame at {time_seconds:.1f} seconds:<|vision_start|>", "<|vision_end|>"


class _Llava(Layout):
    def around(self, time_seconds: float) -> tuple[str, str]:
        return "", ""

    def behind(self, times: Sequence[float]) -> str:
        every = -(-len(times) // LOCATED)
        if every < 2:
            return "\n" + (llava_times(times) if times else "")
        located = ",".join(f"{time:.2f}s" for time in times[::every])
        return (
            f"\nThe video lasts for {times[-1] - times[0]:.2f} seconds, and {len(times)} frames "
            f"are sampled from it. One in {every} of these frames is located at {located}."
        )


class _SmolVLM(Layout):
    def around(self, time_seconds: float) -> tuple[str, str]:
        minutes, seconds = divmod(int(round(time_seconds, 3)), 60)
        before = f"\nFrame from {minutes:02d}:{seconds:02d}:<fake_token_around_image><global-img>"
        return before, "<fake_token_around_image>"


def layout_of(model_type: str, name: str) -> Layout:
    """Raises ModelMissingError for a family whose cache this cannot keep."""
    if model_type == "qwen3_vl":
        mark = "<|vision_start|><|video_pad|><|vision_end|>"
        return _Qwen3("video", mark, "<|video_pad|>", repeat=2)
    if model_type == "qwen2_5_vl":
        return _Qwen2("image", "<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>")
    if model_type == "llava_onevision":
        return _Llava("video", "<video>\n", "<video>", newline=True)
    if model_type == "smolvlm":
        opening = "You are provided the following series of frames from a video.\n"
        return _SmolVLM("video", "<video>", "<image>", opening, "\n\n")
    raise ModelMissingError(
        f"{name} is of the family {model_type}, whose memory of a stream cannot be kept here. "
        f"A streaming session takes {', '.join(SUPPORTED.values())}."
    )
