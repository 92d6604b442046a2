"""Senders of live streams on loopback, made with the standard library and PyAV: real sockets, real
bytes."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av

DATAGRAM = 7 * 188


def eventually(holds: Callable[[], object], seconds: float = 30.0):
    """What `holds` returns as soon as that is true. Fails where it is not in time."""
    until = time.monotonic() + seconds
    while True:
        if found := holds():
            return found
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.05)


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class TcpSender:
    """Listens; each caller gets the next of the streams, and after the last nobody is let in.

    hold: keep a caller's connection open behind its stream until `let_go`.
    """

    def __init__(self, streams: Sequence[bytes], *, hold: bool = False):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._streams = list(streams)
        self._free = threading.Event()
        if not hold:
            self._free.set()
        self.served = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        for stream in self._streams:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            with caller:
                try:
                    caller.sendall(stream)
                    self.served += 1
                    self._free.wait()
                except OSError:
                    continue
        self._server.close()

    def let_go(self) -> None:
        """Ends the connections that are held."""
        self._free.set()

    def close(self) -> None:
        self._free.set()
        self._server.close()


class UdpSender:
    """Sends a stream's bytes again and again, each time with other bytes where several are given,
    at about so many datagrams a second, until it is closed."""

    def __init__(self, port: int, stream: bytes, *, datagrams_a_second: float = 400.0):
        self._port = port
        self._stream = stream
        self._pause = 1 / datagrams_a_second
        self._stop = threading.Event()
        self.sent = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for at in range(0, len(self._stream), DATAGRAM):
                out.sendto(self._stream[at : at + DATAGRAM], ("127.0.0.1", self._port))
                if self._stop.wait(self._pause):
                    return
        self.sent.set()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class RtspCamera:
    """Answers RTSP as a camera does, over TCP alone: each caller that plays gets a recording's
    H.264 as RTP (RFC 2326, 6184) between the answers, at its pace, then nothing until `let_go`."""

    PAYLOAD_BYTES = 1400

    def __init__(self, recording: Path):
        with av.open(str(recording)) as opened:
            video = opened.streams.video[0]
            self._packets = [
                (float(packet.pts * packet.time_base), bytes(packet))
                for packet in opened.demux(video)
                if packet.size
            ]
        self._server = socket.create_server(("127.0.0.1", 0))
        self._free = threading.Event()
        self.methods: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/stream1"

    def let_go(self) -> None:
        """Hangs up on who is connected."""
        self._free.set()

    def close(self) -> None:
        self._free.set()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            self._free.clear()
            with caller, caller.makefile("rb") as requests:
                try:
                    while self._answer(caller, requests):
                        pass
                except OSError:
                    continue

    def _answer(self, caller: socket.socket, requests) -> bool:
        method = requests.readline().decode().partition(" ")[0]
        headers = {}
        while line := requests.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if not method:
            return False
        self.methods.append(method)
        more, body = "", b""
        if method == "DESCRIBE":
            body = (
                b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                b"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            )
            more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            more = "Session: 1\r\n"
        elif method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {headers.get('cseq', 0)}\r\n{more}\r\n"
        caller.sendall(head.encode() + body)
        if method == "PLAY":
            self._play(caller)
        return method not in ("PLAY", "TEARDOWN")

    def _play(self, caller: socket.socket) -> None:
        number, began = 0, time.monotonic()
        for at, data in self._packets:
            if self._free.wait(max(began + at - time.monotonic(), 0.0)):
                return
            units = [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]
            payloads = [one for unit in units for one in self._payloads(unit)]
            for at_payload, payload in enumerate(payloads, 1):
                kind = 96 | 0x80 * (at_payload == len(payloads))
                head = struct.pack(">BBHII", 0x80, kind, number & 0xFFFF, round(at * 90_000), 7)
                number += 1
                framed = struct.pack(">cBH", b"$", 0, len(head) + len(payload))
                caller.sendall(framed + head + payload)
        self._free.wait()

    def _payloads(self, unit: bytes) -> list[bytes]:
        """A NAL unit as it is, or in fragments (FU-A)."""
        if len(unit) <= self.PAYLOAD_BYTES:
            return [unit]
        kind, rest = unit[0], unit[1:]
        starts = range(0, len(rest), self.PAYLOAD_BYTES)
        return [
            bytes([kind & 0xE0 | 28, kind & 0x1F | 0x80 * (at == 0) | 0x40 * (at == starts[-1])])
            + rest[at : at + self.PAYLOAD_BYTES]
            for at in starts
        ]


def published(path: Path, address: str) -> subprocess.Popen:
    """A process that sends a recording's packets to whoever listens there by RTMP: PyAV calls with
    the interpreter's lock held, which who listens needs as well."""
    return subprocess.Popen([sys.executable, __file__, str(path), address])


def publish(path: Path, address: str, seconds: float = 20.0) -> None:
    """As it says; waits until somebody listens."""
    until = time.monotonic() + seconds
    with av.open(str(path)) as recording:
        source = recording.streams.video[0]
        while True:
            form = "rtsp" if address.startswith("rtsp") else "flv"
            output = av.open(address, "w", format=form, options={"rtsp_transport": "tcp"})
            stream = output.add_stream_from_template(source)
            try:
                output.start_encoding()  # calls
                break
            except OSError:
                assert time.monotonic() < until, "nobody listens"
                time.sleep(0.05)
        with output:
            for packet in recording.demux(source):
                if packet.pts is not None:
                    packet.stream = stream
                    output.mux(packet)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_origin(folder: Path) -> Iterator[str]:
    """Serves a folder; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_playlist(path: Path, pieces: Sequence[tuple[str, float]], *, ended: bool) -> None:
    """An HLS media playlist of MP4 pieces behind `init.mp4`; replaced at once."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:6",
        "#EXT-X-TARGETDURATION:3",
        "#EXT-X-MEDIA-SEQUENCE:0",
        '#EXT-X-MAP:URI="init.mp4"',
    ]
    for name, seconds in pieces:
        lines += [f"#EXTINF:{seconds},", name]
    if ended:
        lines.append("#EXT-X-ENDLIST")
    partial_path = path.with_suffix(".part")
    partial_path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial_path.replace(path)


if __name__ == "__main__":
    publish(Path(sys.argv[1]), sys.argv[2])
