"""Read a group of equal rowversions that fills a page."""

from __future__ import annotations

from collections.abc import Iterator

from sync_pipelines.sources.reading import Answer, Fetch, PageBudget, Piece, Reading, until

MAX_TIE_PASSES = 10


class TieGroup:
    """The records of one rowversion, which only a page number can distinguish.

    Args:
        fetch: asks for a page.
        reading: filled while reading.
        position: the rowversion below the group.
        tie: the rowversion of the group.
        budget: of the answers of the group.
    """

    def __init__(
        self,
        fetch: Fetch,
        reading: Reading,
        position: str | None,
        tie: str,
        budget: PageBudget,
    ) -> None:
        self._fetch = fetch
        self._reading = reading
        self._position = position
        self._tie = tie
        self._budget = budget
        self._pages: set[bytes] = set()
        # Digests of the records of the last pass.
        self._group: list[bytes] = []

    def drain(self, first: int, page_size: int) -> Iterator[Piece]:
        """Read the group by page number, again and again until nothing can be missing.

        A source that orders equal rowversions anew for every request shows some records twice and others not at all in
        one pass. So a pass without news ends the group only when as many different records are known as the pass had in
        all, or when it went exactly as the pass before.
        """
        seen: set[bytes] = set()
        previous: list[bytes] | None = None
        for _ in range(MAX_TIE_PASSES):
            known = len(seen)
            yield from self._read_once(first, page_size)
            group = self._group
            seen.update(group)
            has_news = len(seen) > known
            is_still = len(seen) >= len(group) or group == previous
            if previous is not None and not has_news and is_still:
                return
            previous = group
        self._reading.drained = False
        self._reading.warnings.append(
            f"the records of rowversion {self._tie} did not come to rest in {MAX_TIE_PASSES} passes"
        )

    def _read_once(self, first: int, page_size: int) -> Iterator[Piece]:
        """One pass over the group, whose record digests become `_group`."""
        self._group = []
        number = first
        size = page_size
        while True:
            answer = self._fetch(self._position, number, size)
            self._budget.spend()
            if answer.count:
                yield self._piece(answer)
            self._group += answer.page.record_digests(self._tie)
            # A short page proves nothing here: only an empty one, or a later rowversion, ends the group.
            if answer.rowversions[-1:] != [self._tie]:
                return
            # Ask on in pages of the size that came: a server that caps its pages may count the offset either way.
            size = answer.count if number == 1 else size
            number += 1

    def _piece(self, answer: Answer) -> Piece:
        self._reading.check(answer, self._position)
        read = until(answer.rowversions, self._tie)
        self._reading.note(read)
        is_repeated = answer.digest in self._pages
        self._pages.add(answer.digest)
        return Piece(answer.page, keep_until=self._tie, repeated=is_repeated)
