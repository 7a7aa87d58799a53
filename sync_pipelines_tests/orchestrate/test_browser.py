"""x"""
import json

from sync_pipelines.twin import TwinColumn, TwinTable
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item

ATTACK = "/graphql?query=mutation{pwned}"
HOSTILE = {
    "image": f"![pwned]({ATTACK})",
    "html": f"<img src='{ATTACK}' onerror=\"window.pwned=1\"><script>window.pwned=1</script><iframe src='{ATTACK}'></iframe>",
    "link": f"[pwned](javascript:window.pwned=1) [pwned]({ATTACK}) <javascript:window.pwned=1> [a][b]\n\n[b]: {ATTACK}",
    "autolink": "http://pwned.example/x www.pwned.example (https://pwned.example/`|`) me@pwned.example HTTP\\://pwned.example mailto:me@pwned.example",
    "code": f"``` \n```\n![pwned]({ATTACK})\n~~~\n`x` ``![pwned]({ATTACK})",
    "table": f"x |\n|---|\n| ![pwned]({ATTACK}) | <b>pwned</b> |",
    "blocks": f"# pwned\n\n> pwned\n\n- pwned\n\n1. pwned\n\n    ![pwned]({ATTACK})\n\n---\n\npwned\n===\n\n**pwned** __pwned__ ~~pwned~~ &lt;b&gt; &#33;",
    "lines": f"a\r\n\r\n![pwned]({ATTACK})\u2028\u2029\x85![pwned]({ATTACK})\\\n\\![pwned]({ATTACK})",
}


def fill(world: World) -> None:
    """Entities whose every text is hostile."""
    for slug, text in HOSTILE.items():
        columns = (*ITEM_COLUMNS, TwinColumn(text[:60].replace("\n", " ").replace("\r", "").strip(), "TEXT"))
        table = TwinTable(slug, text, text, columns, ("item_number",))
        for number in range(20):
            table.put(item(number))
        table.put_raw((text,), json.dumps({**item(1), "item_number": text, "base_uom": text * 3}).encode(), poison=True)
        table.put_raw(("A9",), json.dumps({**item(9), "item_number": "A9", text: 1}).encode(), poison=False)
        world.store.add(table)
    world.discover()
