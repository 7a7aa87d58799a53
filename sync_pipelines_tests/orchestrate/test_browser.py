"""Dagster's pages in a real browser: no text of a source and no other page acts, and the UI works."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

import dagster as dg
import pytest
from playwright.sync_api import Browser, Page

from sync_pipelines.cli.shell.dagster_processes import WEBSERVER
from sync_pipelines.cli.shell.homes import python_module
from sync_pipelines.cli.shell.processes import stop_all
from sync_pipelines.demo.twin import TwinColumn, TwinTable
from sync_pipelines.orchestrate.markdown import markdown_code, markdown_list, markdown_table
from sync_pipelines.settings import load_settings
from sync_pipelines_tests.browser import EVIL, open_browser
from sync_pipelines_tests.orchestrate.processes import RunningDagster, answers, free_port, wait_for
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item

pytestmark = pytest.mark.timeout(900)

LONG_SECONDS = 600  # of a machine that does other work, too

ATTACK = "/graphql?query=mutation{pwned}"
HOSTILE = {
    "image": f"![pwned]({ATTACK})",
    "html": f"<img src='{ATTACK}' onerror=\"window.pwned=1\"><script>window.pwned=1</script><iframe"
    f" src='{ATTACK}'></iframe>",
    "link": f"[pwned](javascript:window.pwned=1) [pwned]({ATTACK}) <javascript:window.pwned=1> [a][b]\n\n[b]: {ATTACK}",
    "autolink": "http://pwned.example/x www.pwned.example (https://pwned.example/y) me@pwned.example"
    " HTTP\\://pwned.example mailto:me@pwned.example",
    "entity": f"&#33;[pwned]({ATTACK}) &lt;img src={ATTACK}&gt;"
    f" http&colon;&sol;&sol;pwned.example www&period;pwned.example &NewLine;# pwned &#x5b;a]({ATTACK})",
    "reference": f"![pwned][r] [pwned][r] [r] [^1]\n\n[r]: {ATTACK} 'x'\n\n[^1]: ![pwned]({ATTACK}) <!-- pwned -->"
    " [pwned](data:text/html,<b>pwned</b>)",
    "separator": f"a\u2028# pwned\u2029![pwned]({ATTACK})\x85- pwned\x0b>"
    " pwned\x0cHTTP://pwned.example\u2028www.pwned.example\r1. pwned",
    "fence": f"``` \n```\n![pwned]({ATTACK})\n~~~\n`x` ``![pwned]({ATTACK})",
    "table": f"x |\n|---|\n| ![pwned]({ATTACK}) | <b>pwned</b> |",
    "blocks": "# pwned\n\n> pwned\n\n- pwned\n\n1. pwned\n\n   "
    f" ![pwned]({ATTACK})\n\n---\n\npwned\n===\n\n**pwned** __pwned__ ~~pwned~~ &lt;b&gt; &#33;",
}
# Post a body as the UI does. The value is the status of the answer.
SEND = """body => fetch('/graphql', {method: 'POST', headers: {'content-type': 'application/json'}, body})
    .then(answer => answer.status)"""
# Whatever a page would fetch, follow or run.
ACTIVE = """() => [...document.querySelectorAll('a, area, img, iframe, script, form, object, embed')]
    .map(node => [node.tagName, ...['href', 'src', 'action'].map(name => node.getAttribute(name) || '')].join(' '))
    .filter(text => /pwned|mutation|javascript:|mailto:/i.test(text))"""
LAUNCH = """mutation { launchPipelineExecution(executionParams: {mode: "default", selector: {
    repositoryName: "__repository__", repositoryLocationName: "sync_pipelines",
    pipelineName: "discover_erp"}}) { __typename } }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def dagster(
    browser: Browser, module_world: World, running_dagster: RunningDagster
) -> RunningDagster:
    """A Dagster with entities whose every text is hostile, each synced once."""
    for slug, text in HOSTILE.items():
        columns = (*ITEM_COLUMNS, TwinColumn(" ".join(text[:60].split()), "TEXT"))
        table = TwinTable(slug, text, text, columns, ("item_number",))
        for number in range(20):
            table.put(item(number))
        table.put_raw(
            (text,), json.dumps({**item(1), "item_number": text, "base_uom": text * 3}).encode()
        )
        table.put_raw(
            ("A9",), json.dumps({**item(9), "item_number": "A9", text: 1}).encode(), poison=False
        )
        module_world.store.add(table)
    found = running_dagster.command("discover", "erp")
    assert found.returncode == 0, found.stderr
    wait_for(lambda: ("erp", "image") in running_dagster.assets(), "the entities are shown")
    assert running_dagster.finished(running_dagster.launch("sync_erp"))
    return running_dagster


def words(text: str) -> str:
    return " ".join(text.split())


def is_forbidden(address: str) -> bool:
    parts = urlsplit(address)
    is_foreign = parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1"
    return is_foreign or "pwned" in address or "mutation" in unquote(parts.query)


@contextmanager
def watched(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what it must not ask for: an address of a hostile text, another host, a mutation by GET."""
    context = browser.new_context(viewport={"width": 1400, "height": 1600})
    page, asked = context.new_page(), []
    page.on(
        "request", lambda request: asked.append(request.url) if is_forbidden(request.url) else None
    )
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    yield page, asked
    context.close()


def look(page: Page, address: str, until: str) -> str:
    """Open a page, and return what it shows when a text has appeared."""
    page.goto(address)
    page.get_by_text(until).first.wait_for(timeout=LONG_SECONDS * 1000)
    assert page.evaluate(ACTIVE) == []
    assert page.evaluate("window.pwned") is None
    return words(page.inner_text("body"))


def finished_run(dagster: RunningDagster) -> str:
    """A run of the connector that ended well; the newest run may be one that a sensor has just asked for."""
    query = "query($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results { runId } } } }"
    wanted = {"pipelineName": "sync_erp", "statuses": ["SUCCESS"]}
    results = wait_for(
        lambda: dagster.graphql(query, filter=wanted)["runsOrError"]["results"],
        "a run succeeded",
        LONG_SECONDS,
    )
    return str(results[-1]["runId"])


def test_every_description_is_shown_as_the_text_it_is(
    browser: Browser, dagster: RunningDagster
) -> None:
    with watched(browser) as (page, asked):
        for slug, text in HOSTILE.items():
            shown = look(page, f"{dagster.url}/assets/erp/{slug}", "declared as NUMERIC")
            for line in text.splitlines():
                assert words(line) in shown, (slug, line)
        look(page, f"{dagster.url}/assets", "erp / image")
        look(page, f"{dagster.url}/runs/{finished_run(dagster)}", "RUN_SUCCESS")
        look(page, f"{dagster.url}/assets/erp/image?view=checks", "no_duplicate_keys")
    assert asked == []


def test_lists_tables_and_code_show_what_they_were_given(
    browser: Browser, dagster: RunningDagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "DAGSTER_HOME",
        "SYNC_PIPELINES_DAGSTER_URL",
        "SYNC_PIPELINES_HOME",
        "POSTGRES_URL",
    ):
        monkeypatch.setenv(name, dagster.environment[name])
    load_settings.cache_clear()
    with dg.DagsterInstance.get() as instance:
        for slug, text in HOSTILE.items():
            metadata = {
                "listed": markdown_list([text]),
                "tabled": markdown_table(("rule", "records"), [(text, 7)]),
                "coded": markdown_code(text),
            }
            instance.report_runless_asset_event(
                dg.AssetMaterialization(dg.AssetKey(["shown", slug]), metadata=metadata)
            )
    load_settings.cache_clear()
    with watched(browser) as (page, asked):
        for slug, text in HOSTILE.items():
            shown = look(page, f"{dagster.url}/assets/shown/{slug}?view=events", "tabled")
            once = (
                words(text)
                if slug not in ("blocks", "link", "fence")
                else words(text.splitlines()[0])
            )
            assert shown.count(once) >= 3, (slug, shown)
    assert asked == []


@contextmanager
def hostile_site(content: str) -> Iterator[int]:
    """A web server with one page, at a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: object) -> None:
            """A test prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def run_count(dagster: RunningDagster) -> int:
    """Runs of the job that every attack here wants to start; the sensors start others meanwhile."""
    return int(dagster.sql("SELECT count(*) FROM runs WHERE pipeline_name = 'discover_erp'")[0][0])


@pytest.mark.parametrize("host", ["localhost", EVIL])
def test_a_page_of_another_site_starts_nothing(
    browser: Browser, dagster: RunningDagster, host: str
) -> None:
    before = run_count(dagster)
    target = f"{dagster.url}/graphql"
    body = json.dumps({"query": LAUNCH})
    by_address = f"{target}?query={quote(LAUNCH)}"
    content = f"""<iframe src="{dagster.url}/assets"></iframe><img src="{by_address}">
        <form id=f target=t method=post enctype="text/plain" action="{by_address}"><input name=a value=b></form>
        <iframe name=t></iframe>
        <script>
        document.getElementById('f').submit();
        const body = {json.dumps(body)};
        const send = (address, type, more) =>
            fetch(address, {{method: 'POST', headers: {{'content-type': type}}, body, ...more}});
        const tries = ['text/plain', 'text/plain; application/json', 'application/x-www-form-urlencoded'].map(type =>
            send('{target}', type, {{mode: 'no-cors', credentials: 'include'}}));
        tries.push(send('{target}', 'application/json', {{}}));
        tries.push(fetch('{dagster.url}/report_asset_materialization/erp/image',
            {{method: 'POST', mode: 'no-cors', body: '{{}}'}}));
        const socket = new Promise(done => {{
            const opened = new WebSocket('{target.replace("http", "ws", 1)}', 'graphql-ws');
            opened.onopen = () => done('open'); opened.onerror = () => done('refused'); }});
        Promise.allSettled(tries).then(() => socket).then(outcomes => document.title = outcomes);
        </script>"""
    with hostile_site(content) as port, watched(browser) as (page, _):
        sent: list[str] = []
        answered: list[int] = []
        page.on(
            "request",
            lambda request: (
                sent.append(request.method) if request.url.startswith(dagster.url) else None
            ),
        )
        page.on(
            "response",
            lambda answer: (
                answered.append(answer.status) if answer.url.startswith(dagster.url) else None
            ),
        )
        page.goto(f"http://{host}:{port}/")
        page.wait_for_function("document.title != ''", timeout=LONG_SECONDS * 1000)
        assert page.title() == "refused"
        assert sent.count("GET") >= 2, sent
        assert sent.count("POST") >= 4, sent
        assert {status for status in answered if status < 400} == set()
    assert run_count(dagster) == before


def test_a_name_that_is_bound_to_this_machine_shows_nothing(
    browser: Browser, dagster: RunningDagster
) -> None:
    with watched(browser) as (page, _):
        answer = page.goto(f"http://{EVIL}:{dagster.port}/")
        assert answer is not None
        assert answer.status == 403
        assert page.evaluate(SEND, json.dumps({"query": LAUNCH})) == 403


def test_an_image_on_a_page_of_our_own_starts_nothing(
    browser: Browser, dagster: RunningDagster
) -> None:
    before = run_count(dagster)
    with watched(browser) as (page, _):
        look(page, f"{dagster.url}/assets", "erp / image")
        assert (
            page.evaluate(
                "address => fetch(address).then(answer => answer.status)",
                f"/graphql?query={quote(LAUNCH)}",
            )
            == 405
        )
        source = f"/graphql?query={quote(LAUNCH)}"
        loaded = (
            "source => new Promise(done => { const image = new Image();"
            " image.onload = image.onerror = event => done(event.type); image.src = source; })"
        )
        assert page.evaluate(loaded, source) == "error"
    assert run_count(dagster) == before


def test_the_ui_asks_subscribes_and_reloads_through_the_guard(
    browser: Browser, dagster: RunningDagster
) -> None:
    with watched(browser) as (page, _):
        refused: list[str] = []
        frames: list[str] = []
        page.on(
            "response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None
        )
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))),
        )
        look(page, f"{dagster.url}/assets", "erp / image")
        with page.expect_response(
            lambda answer: "op=ReloadWorkspaceMutation" in answer.url, timeout=LONG_SECONDS * 1000
        ) as reloaded:
            page.get_by_text("Reload definitions").click()
        assert "errors" not in reloaded.value.json()
        wait_for(
            lambda: (
                page.wait_for_timeout(200) or any("connection_ack" in frame for frame in frames)
            ),
            "the socket is open",
        )
        assert refused == []


def test_a_read_only_ui_follows_and_changes_nothing(
    browser: Browser, dagster: RunningDagster
) -> None:
    before, port = run_count(dagster), free_port()
    command = python_module(
        WEBSERVER, "-w", str(dagster.folder / "workspace.yaml"), "--port", str(port), "--read-only"
    )
    child = dagster.children.start("webserver-read-only", command)
    shown = RunningDagster(
        dagster.world, dagster.folder, dagster.environment, dagster.children, port
    )
    wait_for(lambda: answers(shown), "the read-only server answers")
    with watched(browser) as (page, _):
        look(page, f"{shown.url}/assets/erp/image", "declared as NUMERIC")
        assert page.evaluate(SEND, json.dumps({"query": LAUNCH})) == 403
        assert page.locator("button", has_text="Materialize").first.is_disabled()
    dagster.world.store.add(TwinTable("late", "Late", "", ITEM_COLUMNS, ("item_number",)))
    assert dagster.command("discover", "erp").returncode == 0
    wait_for(lambda: ("erp", "late") in shown.assets(), "it follows what the other one loads")
    assert run_count(dagster) == before
    stop_all([child])
    dagster.children.all.remove(child)
