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
from sync_pipelines.model.declaration import MAX_RESUME_SECONDS
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.page_words import tells_of_pages

logger = logging.getLogger(__name__)

_FOLDER = "answers"


def sweep_answers(home: Path, older_than_seconds: float = MAX_RESUME_SECONDS) -> int:
    """Forget the answers of runs that no run may go on with any more; returns of how many entities."""
    swept = 0
    for folder in (home / _FOLDER).glob("*"):
        if time.time() - _oldest(folder, time.time()) > older_than_seconds:
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    return swept


def _oldest(folder: Path, default: float) -> float:
    return min((file.stat().st_mtime for file in folder.glob("*")), default=default)


class AnswerCache:
    """The answers of one entity's unfinished run.

    Args:
        home: of this installation.
        entity_uid: whose answers; only the owner of the process can look into their folder.
        keep_seconds: answers of a run that began longer ago are forgotten as a whole.
    """

    def __init__(self, home: Path, entity_uid: UUID, keep_seconds: int) -> None:
        self._folder, self._keep_seconds = home / _FOLDER / str(entity_uid), keep_seconds
        self.reused = 0

    def open(self) -> None:
        """Make the folder, without answers of a run that began too long ago."""
        now = time.time()
        if not 0 <= now - _oldest(self._folder, now) <= self._keep_seconds:
            self.clear()
        make_private_folder(self._folder)

    def get(self, signature: str) -> Reply | None:
        """The kept answer to a request; a damaged one counts as none."""
        path = self._path(signature)
        try:
            head, _, body = path.read_bytes().partition(b"\n")
            told = json.loads(head)
            if told["bytes"] != len(body) or told["digest"] != hashlib.sha256(body).hexdigest():
                raise ValueError("cut")
            reply = Reply(body, dict(told["headers"]), told["url"])
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
        headers = {name: value for name, value in reply.headers.items() if tells_of_pages(name)}
        head = {
            "url": reply.url,
            "headers": headers,
            "bytes": len(reply.body),
            "digest": hashlib.sha256(reply.body).hexdigest(),
        }
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(json.dumps(head).encode() + b"\n" + reply.body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self._path(signature))

    def clear(self) -> None:
        """Forget everything; the run is through."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, signature: str) -> Path:
        return self._folder / f"{hashlib.sha256(signature.encode()).hexdigest()}.answer"
