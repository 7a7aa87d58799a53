"""Answers kept on disk until their run is through, so that a run that died goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from uuid import UUID

from sync_pipelines.files.private import make_private_folder
from sync_pipelines.model.endpoint import MAX_RESUME_SECONDS
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.page_words import concerns_pages

logger = logging.getLogger(__name__)

_FOLDER = "answers"


def sweep_answers(home: Path, older_than_seconds: float = MAX_RESUME_SECONDS) -> int:
    """Forget the answers of runs that no run may go on with any more; returns of how many entities."""
    swept = 0
    parent = home / _FOLDER
    for folder in parent.glob("*"):
        now = time.time()
        age_seconds = now - _oldest(folder, now)
        if age_seconds > older_than_seconds:
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    return swept


def _oldest(folder: Path, default: float) -> float:
    moments = []
    for file in folder.glob("*"):
        moments.append(file.stat().st_mtime)
    return min(moments, default=default)


class AnswerCache:
    """The answers of one entity's unfinished run.

    Args:
        home: of this installation.
        entity_uid: whose answers; only the owner of the process can look into their folder.
        keep_seconds: answers of a run that began longer ago are forgotten as a whole.
    """

    def __init__(
        self,
        home: Path,
        entity_uid: UUID,
        keep_seconds: int,
    ) -> None:
        self._folder = home / _FOLDER / str(entity_uid)
        self._keep_seconds = keep_seconds
        self.reused = 0

    def open(self) -> None:
        """Make the folder, without answers of a run that began too long ago."""
        now = time.time()
        age_seconds = now - _oldest(self._folder, now)
        if not 0 <= age_seconds <= self._keep_seconds:
            self.clear()
        make_private_folder(self._folder)

    def get(self, signature: str) -> Reply | None:
        """The kept answer to a request; a damaged one counts as none."""
        path = self._path(signature)
        try:
            content = path.read_bytes()
            reply = _read_reply(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "a kept answer cannot be used and is fetched again: %s", type(error).__name__
            )
            return None
        self.reused += 1
        return reply

    def put(self, signature: str, reply: Reply) -> None:
        """Keep an answer, whole or not at all."""
        content = _write_reply(reply)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self._path(signature))

    def clear(self) -> None:
        """Forget everything; the run is through."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, signature: str) -> Path:
        name = _digest(signature.encode())
        return self._folder / f"{name}.answer"


def _write_reply(reply: Reply) -> bytes:
    """An answer as a file: a line of JSON, then its body byte for byte."""
    headers = {}
    for name, value in reply.headers.items():
        if concerns_pages(name):
            headers[name] = value
    head = {
        "url": reply.url,
        "headers": headers,
        "bytes": len(reply.body),
        "digest": _digest(reply.body),
    }
    line = json.dumps(head)
    return line.encode() + b"\n" + reply.body


def _read_reply(content: bytes) -> Reply:
    """The answer that a file holds.

    Raises:
        ValueError, KeyError, TypeError: the file is damaged.
    """
    line, _, body = content.partition(b"\n")
    head = json.loads(line)
    is_whole = head["bytes"] == len(body)
    if not is_whole or head["digest"] != _digest(body):
        raise ValueError("cut")
    headers = dict(head["headers"])
    return Reply(body, headers, head["url"])


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content)
    return digest.hexdigest()
