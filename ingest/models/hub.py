"""The hub, through huggingface_hub: the one file that touches it.

Its own downloads begin anew after an interruption (version 2.4: each writes to a file of its own
and deletes it when it fails). So the list of files and the transfer are the library's, and the file
that is written to is ours.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from index.errors import ModelMissingError
from ingest.models.depot import Place


class Source(msgspec.Struct, frozen=True):
    """One file of a repo. sha256 or git: what the hub says it hashes to; large files have the
    first, small ones the second."""

    path: str
    size: int | None
    sha256: str = ""
    git: str = ""


def list_repo(repo: str, revision: str, endpoint: str | None) -> tuple[str, list[Source]]:
    """The commit that a revision is, and its files."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=endpoint, library_name="longtake").model_info(
        repo, revision=revision, files_metadata=True, timeout=30
    )
    files = [
        Source(one.rfilename, one.lfs.size, one.lfs.sha256)
        if one.lfs
        else Source(one.rfilename, one.size, "", one.blob_id or "")
        for one in info.siblings or ()
    ]
    return info.sha or "", files


def fetch(
    repo: str, commit: str, path: str, part: Path, *,
    size: int, endpoint: str | None, moved: Callable[[int], None],
) -> None:  # fmt: skip
    """Appends to `part` what is missing of one file of a repo; see `transfer`."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, path, revision=commit, endpoint=endpoint)
    transfer(url, part, size, moved, build_hf_headers(library_name="longtake"))


def transfer(
    url: str,
    part: Path,
    size: int | None,
    moved: Callable[[int], None],
    headers: dict[str, str] | None = None,
) -> None:
    """Appends to `part` what is missing of it; breaks of the connection are mended a few times.
    moved: called with the bytes that are here. What has been written stays, whatever happens."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    constants.DOWNLOAD_CHUNK_SIZE = 1 << 20  # ten times that is lost or shown at once otherwise
    part.parent.mkdir(parents=True, exist_ok=True)
    here = part.stat().st_size if part.exists() else 0
    if size is not None and here > size:
        part.unlink()
        here = 0

    class Bar:
        """As much of tqdm as the transfer uses."""

        def __init__(self, *_: Any, initial: int = 0, **__: Any):
            self.here = initial

        def update(self, count: float | None = 1) -> None:
            self.here += int(count or 0)
            moved(self.here)

        def close(self) -> None: ...

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None: ...

    with part.open("r+b" if part.exists() else "wb") as file:
        file.seek(here)
        http_get(
            url, file, resume_size=here, headers=headers or {}, expected_size=size,
            tqdm_class=Bar,  # type: ignore[arg-type]
        )  # fmt: skip
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Turns what the hub's library raises into our errors. Of the disk's errors it lets pass."""
    from huggingface_hub import errors

    by_hand = (
        f"Without a network, copy its files from another machine to {place.folder} (the setting "
        "models.dir chooses another place)."
    )
    try:
        yield
    except ModelMissingError:
        raise
    except errors.GatedRepoError as error:
        raise ModelMissingError(
            f"{place.repo} wants its licence accepted on its page first; then give your token in "
            "HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelMissingError(
            f"The hub has no {place.repo}, or does not show it to you (HF_TOKEN)."
        ) from error
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise ModelMissingError(
            f"{place.repo} has no revision {place.revision or 'main'}, or not all of its files "
            "any more."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelMissingError(
            f"HF_HUB_OFFLINE is set, so {place.name} is not fetched. {by_hand}"
        ) from error
    except errors.HfHubHTTPError as error:
        raise ModelMissingError(
            f"The hub refused {place.repo}: {str(error).splitlines()[0]}"
        ) from error
    except (errors.HFValidationError, ValueError) as error:
        raise ModelMissingError(f"{place.repo} cannot be fetched: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise ModelMissingError(_unreachable(place, error, by_hand)) from error
    except Exception as error:
        # The library's HTTP client has errors of its own, and which client that is changes.
        if not type(error).__module__.partition(".")[0].startswith("httpx"):
            raise
        raise ModelMissingError(_unreachable(place, error, by_hand)) from error


def _unreachable(place: Place, error: Exception, by_hand: str) -> str:
    why = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"The hub cannot be reached, or the connection broke ({why[0]}). What was fetched of "
        f"{place.name} stays: pull again to go on. {by_hand}"
    )
