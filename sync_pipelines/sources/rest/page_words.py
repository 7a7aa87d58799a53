"""The words by which sources name pages: in answers, in headers and in OpenAPI documents, without case and
punctuation.
"""

from __future__ import annotations

import re

FLAGS = {
    "hasmore",
    "hasnext",
    "hasnextpage",
    "hasmorepages",
    "hasmoreitems",
    "hasmoreresults",
    "hasmoredata",
    "hasmorerecords",
    "morepages",
    "moreavailable",
    "moreresult",
    "moreresults",
    "moredata",
    "morerecords",
    "moreitems",
    "moreitemsincollection",
    "istruncated",
    "nextpageexists",
    "nextpageavailable",
}
MORE = {*FLAGS, "more", "truncated", "incompleteresults", "partial", "ispartial"}
"""A flag of one of these names that is true says that there is more."""
LAST = {
    "last",
    "islast",
    "islastpage",
    "lastpage",
    "lastbatch",
    "isend",
    "endoflist",
    "end",
    "eof",
    "done",
    "isdone",
    "complete",
    "completed",
    "iscomplete",
    "finished",
    "isfinished",
    "exhausted",
    "nomore",
}
"""One of these names that is false says that there is more."""
NEXT = {
    "next", "nextpage", "nextpageurl", "nexturl", "nexturi", "nextlink", "nexthref", "nextpagelink", "nextpageuri",
    "odatanextlink", "nextrecordsurl", "nextresults", "nextpagetoken", "nexttoken", "nextcursor", "nextpagecursor",
    "nextmarker", "nextoffset", "nextstart", "nextpagenumber", "nextpageid", "nextstartingafter",
    "nextcontinuationtoken", "continuationtoken", "continuation", "continuationkey", "continuationuri",
    "lastevaluatedkey",
}  # fmt: skip
_NEXT = re.compile(
    r"(odata|atom|iot)?next"
    r"(page|results?|records?|items?|batch|set|chunk|request|query"
    r"|starting|position|continuation|skip|scroll|list)?"
    r"(url|uri|link|href|ref|path|query|token|cursor|marker|offset|start|startat|index|after|from)?"
    r"|next(page|record|item)(number|num|no|id|key)"
)
POSITIONS = {
    "cursor",
    "scrollid",
    "searchafter",
    "marker",
    "bookmark",
    "pagecursor",
    "pagetoken",
    "skiptoken",
    "resumptiontoken",
}
"""A place to go on from, which some sources name at the end as well."""
TOTAL = {
    "total", "totalcount", "totalresults", "totalelements", "totalitems", "totalrecords", "totalrows", "totalhits",
    "totalsize", "totalentries", "totalobjects", "totalmatches", "totalavailable", "totalresultcount", "totalnumber",
    "count", "recordcount", "resultcount", "resultscount", "itemcount", "hitcount", "rowcount", "numfound", "nbhits",
    "hits", "matches", "numresults", "numrecords", "numitems", "numberofresults", "numberofrecords", "numberofitems",
    "numberofelements", "numbermatched", "matched", "recordstotal", "recordsfiltered", "itemstotal", "countall",
    "fullcount", "odatacount", "gesamt", "gesamtanzahl", "anzahlgesamt",
}  # fmt: skip
PAGES = {
    "totalpages",
    "totalpage",
    "pagetotal",
    "pagecount",
    "pagescount",
    "pagestotal",
    "lastpage",
    "lastpagenumber",
    "numpages",
    "nbpages",
    "numberofpages",
    "maxpage",
    "maxpages",
    "pages",
}
REMAINING = {
    "remaining",
    "remainingcount",
    "remainingitems",
    "remainingitemcount",
    "remainingrecords",
    "itemsremaining",
    "recordsremaining",
}
LIMIT = {
    "limit",
    "perpage",
    "pagesize",
    "pagelen",
    "maxresults",
    "pagelimit",
    "itemsperpage",
    "hitsperpage",
    "resultsperpage",
}
SIZES = {
    *LIMIT,
    "size",
    "top",
    "first",
    "take",
    "rows",
    "results",
    "pagecount",
    "maxitems",
    "maxrecords",
    "batchsize",
    "recordsperpage",
}
"""Names of query parameters that ask for a number of records."""
ENVELOPES = {
    "meta",
    "metadata",
    "pagination",
    "paging",
    "page",
    "pages",
    "pageinfo",
    "paginginfo",
    "paginationinfo",
    "links",
    "link",
    "responsemetadata",
    "info",
    "resultinfo",
    "resultset",
    "cursors",
    "pager",
    "paginator",
    "additionaldata",
    "pagedetails",
    "xpagination",
    "collection",
}
_COUNTS = TOTAL | PAGES | REMAINING | {"more"}
_OF_PAGES = {
    "x",
    "ms",
    "wp",
    "api",
    "page",
    "pages",
    "pagination",
    "paging",
    "pager",
    "result",
    "results",
    "list",
    "collection",
    "items",
}


def plain_name(name: str) -> str:
    """A name without case and punctuation: has_more, hasMore and has-more are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def names_next(plain: str) -> bool:
    """Whether a plain name is one for the place of the next page."""
    return plain in NEXT or _NEXT.fullmatch(plain) is not None


def header_word(name: str) -> str | None:
    """The word in a header's name, as X-WP-TotalPages has `totalpages`; None where it does not concern pages."""
    parts = [part for part in name.lower().split("-") if part]
    for start in range(len(parts)):
        word = plain_name("".join(parts[start:]))
        if word in FLAGS or word in ("pagination", "paging"):
            return word
        if names_next(word):
            return word
        if word not in _COUNTS:
            continue
        has_own_meaning = word.startswith("total") and word != "total"
        if has_own_meaning or set(parts[:start]) <= _OF_PAGES:
            return word
    return None


def concerns_pages(header: str) -> bool:
    """Whether a header may concern the list that its answer is a page of."""
    if header.lower() in ("link", "content-range"):
        return True
    return header_word(header) is not None
