"""The pages of one list that were read, by which a source that goes in circles is noticed."""

from __future__ import annotations

from sync_pipelines.errors import SourceContractError


class SeenPages:
    """The requests and the answers of one list."""

    def __init__(self) -> None:
        self._signatures: set[str] = set()
        self._digests: set[bytes] = set()

    @property
    def asked(self) -> int:
        """Number of requests."""
        return len(self._signatures)

    def note_request(self, signature: str) -> None:
        """Take in a request before it is sent.

        Args:
            signature: what distinguishes it from the others.

        Raises:
            SourceContractError: it was sent before.
        """
        if signature in self._signatures:
            raise SourceContractError(
                "The source leads back to a page that was read already: it is looping."
            )
        self._signatures.add(signature)

    def note_records(self, digest: bytes) -> None:
        """Take in an answer with records.

        Raises:
            SourceContractError: another one had the very same.
        """
        if digest in self._digests:
            raise SourceContractError(
                "The source sends the same records for two pages: it is looping."
            )
        self._digests.add(digest)


def too_many_requests(asked: int) -> SourceContractError:
    """A list that does not end."""
    return SourceContractError(
        f"The source was asked {asked} times in one read without coming to an end.",
        next_command="raise MAX_PAGES if it really holds that much",
    )
