"""A hub on loopback: answers what huggingface_hub asks, a repo's files and their bytes."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np
from safetensors.numpy import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def weights(size: int = 300_000, seed: int = 0) -> bytes:
    """A safetensors file with one tensor of about so many bytes."""
    values = np.random.default_rng(seed).standard_normal(size // 4).astype(np.float32)
    return save({"layer.weight": values})


def whisper_weights(size: int = 1000) -> bytes:
    """The beginning of CTranslate2's format, and nothing sensible after it."""
    return struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + bytes(size)


def text_model(seed: int = 0) -> dict[str, bytes]:
    """What a repo of a text encoder holds, with much that nobody needs."""
    return {
        "model.safetensors": weights(seed=seed),
        "config.json": b'{"model_type": "bert"}',
        "tokenizer.json": b"{}",
        "sentencepiece.bpe.model": b"pieces",
        "1_Pooling/config.json": b"{}",
        "README.md": b"# Read me",
        "pytorch_model.bin": b"a pickle",
        "onnx/model.onnx": b"another format",
    }


@dataclass
class Hub:
    """repos: name -> path -> content. commits: revision -> commit, for those that are no commit.

    break_after: bytes of a file after which the connection breaks, once each time it is set.
    corrupt: paths that come with other bytes than the list says. asked: (path, Range) of each file
    asked for. gated: repos that want their licence accepted.
    """

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    break_after: int | None = None
    corrupt: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)

    def info(self, repo: str, revision: str) -> dict:
        siblings = []
        for path, content in self.repos[repo].items():
            one = {"rfilename": path, "size": len(content)}
            one["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if len(content) > 10_000 or path.endswith((".safetensors", ".bin")):
                one["lfs"] = {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 130,
                }
            siblings.append(one)
        commit = self.commits.get(revision, revision)
        return {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []}


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/models/"):
                repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
                self.list_files(repo, revision or "main")
            elif not path.startswith(
                "/elsewhere/"
            ):  # large files lie elsewhere, as on the real hub
                self.send_response(302)
                self.send_header("Location", f"{hub.url}/elsewhere{path}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                repo, _, rest = path.removeprefix("/elsewhere/").partition("/resolve/")
                self.send_file(repo, rest.partition("/")[2])

        def list_files(self, repo: str, revision: str) -> None:
            hub.listed.append(revision)
            if repo not in hub.repos:
                return self.refuse(404, "RepoNotFound")
            if repo in hub.gated:
                return self.refuse(403, "GatedRepo")
            if revision not in hub.commits and revision not in hub.commits.values():
                return self.refuse(404, "RevisionNotFound")
            body = json.dumps(hub.info(repo, revision)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send_file(self, repo: str, path: str) -> None:
            content = hub.repos[repo][path]
            asked = self.headers.get("Range")
            hub.asked.append((path, asked))
            if path in hub.corrupt:
                content = bytes(255 - byte for byte in content)
            start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                end = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            if hub.break_after is not None and len(rest) > hub.break_after:
                self.wfile.write(rest[: hub.break_after])
                self.wfile.flush()
                hub.break_after = None
                self.close_connection = True
                return
            with suppress(ConnectionError):  # the other side may have been killed
                self.wfile.write(rest)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
