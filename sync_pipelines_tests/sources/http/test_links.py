"""The header Link by the grammar of RFC 8288."""

from __future__ import annotations

import contextlib
import time

import pytest

from sync_pipelines.errors import SourceContractError
from sync_pipelines.sources.http.links import next_target

BASE = "https://shop.example.com/api/users?page=1"
NEXT = "https://shop.example.com/api/users?page=2"


@pytest.mark.parametrize(
    "header",
    [
        '</api/users?page=2>; rel="next"',
        "<?page=2>;rel=next",
        "<users?page=2> ; REL = NEXT",
        '<https://shop.example.com/api/users?page=2>; rel="prefetch Next"',
        '<x>; rel="prev"; title="a, b; rel=\\"next\\"", </api/users?page=2>; rel="next"',
        '<x>; title="<y>; rel=next", <?page=2>; rel=next',
        ", ,<?page=2>; rel=next, ,",
        '<?page=2>; rel="next"; rel="prev"',
        "<?page=2>; rel*=UTF-8''next",
        "<?page=2>; rel=next; crossorigin; title",
        '<?page=2>; anchor="/api/users?page=1"; rel=next',
        '<?page=2>; anchor=""; rel=next',
        '<x>; rel=next; anchor="/other", <?page=2>; rel=next',
        "<?page=2>; title*=UTF-8'de'n%C3%A4chste%2C; rel=\"next\";",
        '<?page=2>; rel="next", <?page=9>; rel="next"',
    ],
)
def test_the_next_page_is_found_however_it_is_written(header: str) -> None:
    assert next_target(header, BASE) == NEXT


@pytest.mark.parametrize(
    "header",
    [
        "",
        ", ,",
        '<?page=2>; rel="prev"; rel="next"',
        '<?page=2>; title="rel=next"',
        '<?page=2>; title="; rel=next"',
        '<?page=2>; rel="nextish not-next"',
        '<?page=2>; anchor="https://elsewhere.example.com/"; rel=next',
        "<?page=2>",
    ],
)
def test_what_is_not_the_next_page_is_not_taken_for_it(header: str) -> None:
    assert next_target(header, BASE) is None


@pytest.mark.parametrize(
    "header",
    [
        "?page=2; rel=next",
        '<?page=2>; rel="next',
        "<?page=2; rel=next",
        "<?page=2> rel=next",
        "next",
    ],
)
def test_a_header_that_cannot_be_read_is_an_error_and_no_end(header: str) -> None:
    with pytest.raises(SourceContractError, match="Link cannot be read"):
        next_target(header, BASE)


def cpu_seconds(header: str) -> float:
    started = time.process_time()
    with contextlib.suppress(SourceContractError):
        next_target(header, BASE)
    return time.process_time() - started


@pytest.mark.parametrize(
    "begin, repeated",
    [
        ('<a>; t="', "\\"),
        ("<a>", "; "),
        ("<a>;x=", '"'),
        ("", ","),
        ('<a>; a="', 'b\\"'),
        ("", "<a>;"),
    ],
)
def test_a_hostile_header_takes_no_more_than_its_length(begin: str, repeated: str) -> None:
    assert cpu_seconds(begin + repeated * 100_000) < 2
