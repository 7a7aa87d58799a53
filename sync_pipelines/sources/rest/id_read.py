"""Read the records of an id list: each id comes back, or is a record that failed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sync_pipelines.batches.page import Page
from sync_pipelines.errors import IncompleteAnswerError
from sync_pipelines.model.endpoint import Endpoint, IdList
from sync_pipelines.model.entity import Entity
from sync_pipelines.secrets import printable
from sync_pipelines.sources.declared.keeper import missing_record
from sync_pipelines.sources.declared.paths import id_column
from sync_pipelines.sources.rest.answers import Answers, Walk
from sync_pipelines.sources.rest.ids import WantedIds
from sync_pipelines.sources.rest.requests import Query

SHOWN_IDS = 10
_UNASKABLE = "It cannot be asked for: a list or a path would not hold it as one id."
_ABSENT = "It was asked for and did not come back."

ReadList = Callable[[str, Query], Iterator[Page]]
"""The pages of the list at an address, under a query."""


@dataclass
class IdCount:
    """All ids that a run asks for, in however many requests.

    Attributes:
        asked: number of ids.
        min_success: least share of them that must be good.
        faulty: those that failed, with the reason.
    """

    asked: int
    min_success: float
    faulty: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> int:
        """Ids that have not failed; one whose row is there and did not change counts, too."""
        return self.asked - len(self.faulty)

    @property
    def is_enough(self) -> bool:
        """The share is reached still."""
        least = round(self.min_success * self.asked, 6)  # 0.55 * 100 is more than 55
        return self.good >= least


@dataclass
class _Verdicts:
    """Which ids of some pages are good, and why others are not."""

    good: set[str] = field(default_factory=set)
    faulty: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> dict[str, str]:
        """Why ids failed that no record shows to be good."""
        failed = {}
        for one, reason in self.faulty.items():
            if one not in self.good:
                failed[one] = reason
        return failed

    def has(self, one: str) -> bool:
        """Whether an id is good or has failed."""
        return one in self.good or one in self.faulty

    def note(
        self,
        page: Page,
        wanted: set[str],
        column: str | None,
    ) -> None:
        """Refuse the records of a page that were not asked for, and note of the others which are good."""
        for place, one in enumerate(page.ids):
            if one not in wanted:
                page.refused.setdefault(place, (column, "It was not asked for."))
            elif place in page.refused:
                _, reason = page.refused[place]
                self.faulty[one] = reason
            else:
                self.good.add(one)


class IdRead:
    """One read of the records of an id list.

    Args:
        answers: of the endpoint.
        walk: the read.
        entity: whose records these are.
        endpoint: its declaration, which has ids.
        shows_ids: an error may name them.
    """

    def __init__(
        self,
        answers: Answers,
        walk: Walk,
        entity: Entity,
        endpoint: Endpoint,
        *,
        shows_ids: bool,
    ) -> None:
        assert endpoint.ids is not None
        self._answers = answers
        self._walk = walk
        self._entity = entity
        self._declared: IdList = endpoint.ids
        self._column = id_column(endpoint)
        self._shows_ids = shows_ids

    def read(
        self,
        wanted: WantedIds,
        after: str | None,
        read_list: ReadList,
    ) -> Iterator[Page]:
        """The records of the ids, and one for each that did not come back.

        Args:
            wanted: the ids.
            after: the cursor, by which known ids are filtered; None = everything.
            read_list: follows one list.

        Raises:
            IncompleteAnswerError: too many of all ids failed.
        """
        count = IdCount(len(wanted.all), self._declared.min_success)
        if after is None:
            yield from self._read_in_parts(wanted.all, None, read_list, count)
            return
        new: list[str] = []
        known: list[str] = []
        for one in wanted.all:
            part = known if one in wanted.known else new
            part.append(one)
        yield from self._read_in_parts(new, None, read_list, count)
        yield from self._read_in_parts(known, after, read_list, count)

    def _read_in_parts(
        self,
        ids: list[str] | tuple[str, ...],
        since: str | None,
        read_list: ReadList,
        count: IdCount,
    ) -> Iterator[Page]:
        size = self._declared.size
        for start in range(0, len(ids), size):
            some = list(ids[start : start + size])
            yield from self._read_some(some, since, read_list, count)
            self._check(count)

    def _read_some(
        self,
        ids: list[str],
        since: str | None,
        read_list: ReadList,
        count: IdCount,
    ) -> Iterator[Page]:
        """The records of some ids; what failed is noted in `count`."""
        verdicts = _Verdicts()
        askable = [one for one in ids if _is_askable(one, self._declared.param)]
        unasked = [one for one in ids if one not in askable]
        verdicts.faulty |= dict.fromkeys(unasked, _UNASKABLE)
        wanted = set(ids)
        for url, query in self._requests(askable, since):
            for page in read_list(url, query):
                verdicts.note(page, wanted, self._column)
                yield page
        absent = []
        # What did not change since the cursor need not come; it has a row that is good.
        if since is None:
            absent = [one for one in ids if not verdicts.has(one)]
        verdicts.faulty |= dict.fromkeys(absent, _ABSENT)
        for one in [*unasked, *absent]:
            yield self._missing_page(one, verdicts.faulty[one])
        count.faulty |= verdicts.failed

    def _missing_page(self, one: str, reason: str) -> Page:
        """A page with the record of an id that did not come, which is refused."""
        body = missing_record(self._column or "", one)
        number = self._walk.before()
        page = self._walk.decoder.decode_kept(number, body)
        page.refused[0] = (self._column, reason)
        return page

    def _requests(self, askable: list[str], since: str | None) -> list[tuple[str, Query]]:
        """URL and query of each request for some ids: one for all where a parameter takes them, else one for each."""
        query = self._answers.query(since)
        param = self._declared.param
        if param is None:
            return [(self._answers.url(one), query) for one in askable]
        if not askable:
            return []
        query[param] = ",".join(askable)
        return [(self._answers.url(), query)]

    def _check(self, count: IdCount) -> None:
        """Refuse the read as soon as the share cannot be reached any more."""
        if count.is_enough:
            return
        reasons = []
        some = itertools.islice(count.faulty.items(), SHOWN_IDS)
        for one, why in some:
            reason = f"{one}: {why}" if self._shows_ids else why
            reasons.append(reason)
        shown = printable("; ".join(reasons), 600)
        raise IncompleteAnswerError(
            f"At most {count.good} of {count.asked} records that were asked for can come back good, less than the"
            f" share of {count.min_success:g}. {shown}",
            where=dict(self._entity.where),
            next_command="take the ids that are gone out of the list, or lower ids.min_success, then sync-pipelines"
            f" sync {self._entity.path}",
        )


def _is_askable(one: str, param: str | None) -> bool:
    """Whether a request can name this id: a comma separates ids, an empty one or one of dots is another path."""
    if one == "":
        return False
    if param is not None:
        return "," not in one
    return one not in (".", "..")
