"""The sample films that `longtake demo` indexes, made on the spot.

Two short lectures: one in English with a sidecar subtitle file and chapters, one in German with
its subtitles inside the container. What is said, what stands on the slides and what the pictures
show differ, so that each kind of search has something of its own to find.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cli.scenes import HEIGHT, WIDTH, Scene, day, harbour, moon, night, rays, slide

FRAME_SIZE = (768, 432)
"""Width and height in pixels: large enough to play, small enough to be read quickly."""

FRAMES_PER_SECOND = 12
SAMPLE_RATE = 24_000

LIGHTHOUSE = "how-a-lighthouse-works.mp4"
TIDES = "ebbe-und-flut.mkv"
PICTURE = "picture.jpg"

PICTURE_SECONDS = 57.0
"""Where in the lighthouse film the sample picture was taken."""

Cue = tuple[float, float, str]


@dataclass(frozen=True, slots=True)
class _Film:
    title: str
    language: str
    scenes: tuple[Scene, ...]
    cues: tuple[Cue, ...]

    @property
    def seconds(self) -> float:
        return sum(scene.seconds for scene in self.scenes)


_SEA = ("#f3f6f8", "#15304a", "#c0392b")
_DUNE = ("#fbf4e4", "#33291d", "#2e7fb8")

_LIGHTHOUSE = _Film(
    "How a lighthouse works",
    "eng",
    (
        Scene(7, slide("How a lighthouse works", ["Lamp, lens and rhythm"], *_SEA),
              "A light at sea", still=True),
        Scene(9, night),
        Scene(13, slide("The Fresnel lens",
                        ["Augustin Fresnel, Paris 1822", "Rings of prisms gather the light",
                         "Range: 20 nautical miles"], *_SEA), "The lens", still=True),
        Scene(9, rays),
        Scene(13, slide("Every light has its rhythm",
                        ["Eddystone: two flashes in 10 seconds",
                         "Bishop Rock: two flashes in 15 seconds",
                         "Fastnet: one flash in 5 seconds"], *_SEA), "The rhythm", still=True),
        Scene(10, day, "By day"),
        Scene(9, slide("The last keeper", ["North Foreland, November 1998",
                                           "Since then the lamps look after themselves"], *_SEA),
              "Keepers", still=True),
    ),
    (
        (0.5, 5.0, "In one minute you will know how a lighthouse works."),
        (7.3, 11.0, "Seen from a ship at night, it looks like a lamp that blinks."),
        (11.2, 15.8, "But nothing is switched off: the lamp burns steadily, "
                     "and a beam sweeps over the water."),
        (16.4, 22.2, "The secret is the lens. Augustin Fresnel invented it "
                     "and built it from rings of glass."),
        (22.5, 28.6, "Each ring bends its share of the light, "
                     "so that hardly any is lost to the sky."),
        (29.3, 33.4, "Here you see it: rays leave the lamp in every direction, "
                     "and leave the lens side by side."),
        (33.6, 37.8, "That is why a small bulb can be seen from twenty miles away."),
        (38.5, 44.3, "How does a sailor tell one lighthouse from another? By counting."),
        (44.6, 50.6, "The chart prints how often each one flashes, "
                     "and no two neighbours share a rhythm."),
        (51.3, 55.6, "By day the tower is a landmark: "
                     "its stripes and colours tell it from the others."),
        (55.9, 60.8, "For centuries keepers climbed the stairs, "
                     "wound the clockwork and trimmed the wick."),
        (61.5, 68.5, "In Britain the last of them went home long ago. The light still burns."),
    ),
)  # fmt: skip

_TIDES = _Film(
    "Ebbe und Flut",
    "ger",
    (
        Scene(5, slide("Ebbe und Flut", ["Warum das Meer steigt und sinkt"], *_DUNE),
              "Der Mond", still=True),
        Scene(9, moon),
        Scene(12, slide("Springflut und Nippflut",
                       ["Springflut: Neumond und Vollmond", "Nippflut: Halbmond"], *_DUNE),
              "Die Springflut", still=True),
        Scene(8, harbour, "Im Hafen"),
    ),
    (
        (0.5, 4.8, "Zweimal am Tag kommt das Wasser, und zweimal geht es wieder."),
        (5.4, 9.4, "Der Mond zieht am Meer und hebt auf seiner Seite einen Wasserberg."),
        (9.6, 14.6, "Die Erde dreht sich darunter hindurch, "
                     "darum wandert die Flut um die ganze Welt."),
        (15.0, 25.0, "Stehen Sonne, Mond und Erde in einer Linie, "
                     "steigt das Wasser besonders hoch."),
        (26.4, 33.6, "Im Hafen zeigt es der Pegel: sechs Stunden steigt das Wasser, "
                     "dann läuft es wieder ab."),
    ),
)  # fmt: skip


def make_sample_film(folder: Path) -> list[Path]:
    """The two films in `folder`, made where they are not there yet.

    Beside them lie the subtitles of the first and a picture from it, smaller and recompressed, to
    search with. Raises OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lighthouse, tides = folder / LIGHTHOUSE, folder / TIDES
    captions = lighthouse.with_suffix(".en.srt")
    if not captions.exists():
        _replace(captions, lambda path: path.write_text(_srt(_LIGHTHOUSE.cues), encoding="utf-8"))
    if not lighthouse.exists():
        _replace(lighthouse, lambda path: _write(path, _LIGHTHOUSE))
    if not tides.exists():
        _replace(tides, lambda path: _write(path, _TIDES, subtitles=True))
    picture = folder / PICTURE
    if not picture.exists():
        small = _picture_at(_LIGHTHOUSE.scenes, PICTURE_SECONDS).resize((WIDTH // 2, HEIGHT // 2))
        _replace(picture, lambda path: small.save(path, "JPEG", quality=70))
    return [lighthouse, tides]


def _replace(path: Path, write) -> None:
    """Writes beside `path` and renames, so that a file that is there is whole."""
    # The suffix stays, because PyAV tells the container by it.
    partial = path.with_name(f".making-{os.getpid()}-{path.name}")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _srt(cues: Sequence[Cue]) -> str:
    def clock(seconds: float) -> str:
        milliseconds = round(seconds * 1000)
        minutes, rest = divmod(milliseconds, 60_000)
        return f"00:{minutes:02}:{rest // 1000:02},{rest % 1000:03}"

    return "\n".join(
        f"{number}\n{clock(start)} --> {clock(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(cues, start=1)
    )


def _picture_at(scenes: Sequence[Scene], seconds: float):
    for scene in scenes:
        if seconds < scene.seconds:
            return scene.draw(seconds)
        seconds -= scene.seconds
    raise ValueError("past the end of the film")


def _write(path: Path, film: _Film, subtitles: bool = False) -> None:
    """Encodes one film: H.264 (MPEG-4 where PyAV was built without x264) and AAC."""
    import av

    # "bitexact" keeps random ids and version strings out of the file.
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as container:
        container.metadata["title"] = film.title
        container.set_chapters(_chapters(film.scenes))
        video = container.add_stream(_video_codec(), rate=FRAMES_PER_SECOND)
        video.width, video.height = FRAME_SIZE
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 2  # x264's output depends on how many there are
        video.codec_context.gop_size = 5 * FRAMES_PER_SECOND
        if video.codec_context.name == "libx264":
            video.options = {"preset": "ultrafast", "crf": "23"}
        else:
            video.bit_rate = 1_500_000
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 48_000
        audio.metadata["language"] = film.language
        if subtitles:
            track = container.add_mux_stream("subrip", time_base=Fraction(1, 1000))
            track.metadata["language"] = film.language
            container.start_encoding()
            for start, end, text in film.cues:
                packet = av.Packet(text.encode())
                packet.pts = packet.dts = round(start * 1000)
                packet.duration = round((end - start) * 1000)
                packet.time_base, packet.stream = Fraction(1, 1000), track
                container.mux(packet)
        sound = _sea(film.seconds)
        for index, picture in enumerate(_pictures(film.scenes)):
            if index % FRAMES_PER_SECOND == 0:  # so that the two lie side by side in the file
                container.mux(audio.encode(next(sound)))
            width, height = FRAME_SIZE
            frame = av.VideoFrame.from_image(picture).reformat(width, height, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(frame))
        container.mux(audio.encode())
        container.mux(video.encode())


def _video_codec() -> str:
    import av

    try:
        av.Codec("libx264", "w")
    except av.codec.codec.UnknownCodecError:
        return "mpeg4"
    return "libx264"


def _pictures(scenes: Sequence[Scene]):
    for scene in scenes:
        first = scene.draw(0.0)
        for index in range(round(scene.seconds * FRAMES_PER_SECOND)):
            yield first if scene.still else scene.draw(index / FRAMES_PER_SECOND)


def _chapters(scenes: Sequence[Scene]) -> list[dict]:
    starts, clock = [], 0.0
    for scene in scenes:
        if scene.chapter:
            starts.append((clock, scene.chapter))
        clock += scene.seconds
    ends = [start for start, _ in [*starts[1:], (clock, "")]]
    return [
        {
            "id": number,
            "start": round(start * 1000),
            "end": round(end * 1000),
            "time_base": Fraction(1, 1000),
            "metadata": {"title": title},
        }
        for number, ((start, title), end) in enumerate(zip(starts, ends, strict=True), start=1)
    ]


def _sea(seconds: float):
    """Waves on a beach: noise that swells and ebbs, as audio frames of one second."""
    import av
    import numpy as np

    dice = np.random.default_rng(11)
    for second in range(round(seconds)):
        noise = np.cumsum(dice.normal(0, 1, SAMPLE_RATE))  # brown noise: mostly rumble
        noise -= np.linspace(noise[0], noise[-1], SAMPLE_RATE)  # joins the next second at zero
        t = second + np.arange(SAMPLE_RATE) / SAMPLE_RATE
        swell = 0.35 + 0.65 * np.sin(np.pi * t / 7) ** 2
        wave = noise / 400 * swell
        samples = np.clip(wave * 6000, -12000, 12000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, second * SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        yield frame
