"""A SQL model: one file, one SELECT, a header of `-- key: value` lines; parsed by sqlglot, nothing is executed here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from sync_pipelines.downstream.allowed import why_not
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import fingerprint

_HEADER = re.compile(r"^--\s*([a-z_]+)\s*:\s*(.*?)\s*$")
_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_KEYS = {"materialized", "description", "unique", "not_null"}
MATERIALIZATIONS = ("view", "table")
MAX_MODEL_BYTES = 1_000_000
MAX_SUBSCRIPTS = 200


@dataclass(frozen=True)
class SqlModel:
    """A model file.

    Attributes:
        schema, name: where it lands; from the folder and the file name.
        materialized: view or table.
        unique: columns that together identify a row; empty = not checked.
        not_null: columns without nulls.
        query: the SELECT without header.
        reads: (schema, table) of every table in it.
    """

    schema: str
    name: str
    materialized: str
    description: str
    unique: tuple[str, ...]
    not_null: tuple[str, ...]
    query: str
    reads: tuple[tuple[str, str], ...]
    path: Path

    @property
    def version(self) -> str:
        """Changes when the meaning of the SQL may have changed; layout does not count."""
        tree = sqlglot.parse_one(self.query, read="postgres")
        return fingerprint([self.materialized, tree.sql("postgres")])


def load_models(folder: Path) -> tuple[list[SqlModel], list[SettingsError]]:
    """All models below `folder` as `<schema>/<name>.sql`, and what is wrong with the others."""
    models = []
    errors = []
    for path in sorted(folder.glob("*/*.sql")):
        try:
            text = _read(path)
            models.append(parse_model(path, text))
        except SettingsError as error:
            errors.append(error)
    return models, errors


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MODEL_BYTES + 1)
        if len(content) > MAX_MODEL_BYTES:
            raise _wrong(path, 1, f"it is larger than {MAX_MODEL_BYTES} bytes")
        return content.decode("utf-8")
    except OSError as error:
        raise _wrong(path, 1, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise _wrong(path, line, "it is not UTF-8") from None


def models_fingerprint(folder: Path) -> str:
    """Changes when a model is added, changed, renamed or deleted."""
    files = []
    for path in sorted(folder.glob("*/*.sql")):
        name = f"{path.parent.name}/{path.name}"
        content = path.read_bytes()
        files.append((name, content.hex()))
    return fingerprint(files)


def parse_model(path: Path, text: str) -> SqlModel:
    """Parse one file.

    Raises:
        SettingsError: names file and line, and what is allowed.
    """
    schema = path.parent.name
    name = path.stem
    for part in (schema, name):
        if not _NAME.match(part):
            raise _wrong(path, 1, f"{part!r} is no name: lower-case letters, digits and _ only")
    lines = text.splitlines()
    header = _read_header(path, lines)
    body = "\n".join(lines[len(header) :])
    query = body.strip().rstrip(";")
    materialized = header.get("materialized", "view")
    if materialized not in MATERIALIZATIONS:
        known = ", ".join(MATERIALIZATIONS)
        raise _wrong(path, 1, f"materialized is {materialized!r}; known: {known}")
    return SqlModel(
        schema=schema,
        name=name,
        materialized=materialized,
        description=header.get("description", ""),
        unique=_columns(header.get("unique", "")),
        not_null=_columns(header.get("not_null", "")),
        query=query,
        reads=_tables(path, query, len(header)),
        path=path,
    )


def _read_header(path: Path, lines: list[str]) -> dict[str, str]:
    header: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _HEADER.match(line)
        if match is None:
            break
        key, value = match.groups()
        if key not in _KEYS:
            known = ", ".join(sorted(_KEYS))
            raise _wrong(path, number, f"unknown key {key!r}; known: {known}")
        header[key] = value
    return header


def _columns(text: str) -> tuple[str, ...]:
    columns = map(str.strip, text.split(","))
    return tuple(column for column in columns if column)


def _tables(path: Path, query: str, offset: int) -> tuple[tuple[str, str], ...]:
    try:
        return _read_tables(path, query, offset)
    except RecursionError:
        raise _wrong(path, offset + 1, "it is nested too deeply") from None


def _read_tables(path: Path, query: str, offset: int) -> tuple[tuple[str, str], ...]:
    first_line = offset + 1
    try:
        # A chain of subscripts takes the parser time with the square of its length.
        kinds = [token.token_type for token in sqlglot.tokenize(query, read="postgres")]
        subscripts = kinds.count(TokenType.L_BRACKET)
        if subscripts > MAX_SUBSCRIPTS:
            why = f"it has {subscripts} square brackets, more than the {MAX_SUBSCRIPTS} of a model"
            raise _wrong(path, first_line, why)
        statements = sqlglot.parse(query, read="postgres")
    except SqlglotError as error:
        problem = getattr(error, "errors", [{}])[0]
        line = offset + int(problem.get("line", 1))
        raise _wrong(path, line, str(problem.get("description", "not SQL"))) from None
    tree = statements[0] if len(statements) == 1 else None
    if tree is None:
        raise _wrong(path, first_line, "a model is one SELECT")
    for why in why_not(tree):
        raise _wrong(path, first_line, why)
    # SQL that cannot be written back would fail later, where it stops more than this model.
    tree.sql("postgres")
    named = {cte.alias for cte in tree.find_all(exp.CTE)}
    found = []
    for table in tree.find_all(exp.Table):
        if not table.db and table.name in named:
            continue
        if not table.db:
            raise _wrong(path, first_line, f"the table {table.name!r} needs its schema")
        found.append((table.db, table.name))
    return tuple(dict.fromkeys(found))


def _wrong(path: Path, line: int, why: str) -> SettingsError:
    return SettingsError(
        f"{path.parent.name}/{path.name}:{line}: {why}.",
        state="The model is left out; the others are loaded.",
    )
