"""What a gate's YAML may say: `gates/<connector>/<entity>.yaml`, checked key by key. The reference is docs/gate.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sync_pipelines.errors import SettingsError
from sync_pipelines.files.safe_yaml import Location
from sync_pipelines.gate.document import Document, load_document, nearest
from sync_pipelines.secrets import check_reference

Outcome = Literal["pass", "review", "reject"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
Threshold = Annotated[float, Field(ge=0, le=100, strict=False)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Rule(_Strict):
    """One rule: a built-in check of pandera on a column, a registered function, or an SQL expression over the record.

    Attributes:
        severity: what becomes of a record that fails: reject, review, or only a lower score.
        weight: its part in the score.
        nulls: whether a record passes for which the rule cannot say (a null somewhere).
        when: SQL expression; other records pass.
        message: said instead of the rule's own words.
    """

    name: Name
    column: str | None = None
    columns: Names = []
    check: str | None = None
    function: str | None = None
    expression: str | None = None
    arguments: dict[str, Any] = {}
    severity: Literal["reject", "review", "score"] = "reject"
    weight: float = Field(1.0, ge=0, le=1e6, strict=False)
    nulls: Literal["pass", "fail"] = "pass"
    when: str | None = None
    message: str | None = Field(None, max_length=500)

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        kinds = [self.check, self.function, self.expression]
        if kinds.count(None) != 2:
            raise ValueError("a rule has exactly one of check, function and expression")
        if self.check is not None:
            if self.column is None or self.columns:
                raise ValueError("a check needs column")
        elif self.function is not None:
            if bool(self.column) == bool(self.columns):
                raise ValueError("a function needs column or columns")
        elif self.column or self.columns or self.arguments:
            raise ValueError("an expression names its columns itself, and takes no arguments")
        return self


class Score(_Strict):
    """What a score of 0 to 100 leads to where no decision table says it."""

    reject_below: Threshold = 0
    review_below: Threshold = 0


class Decision(_Strict):
    """A DMN decision table that judges every record.

    Attributes:
        file: beside the YAML file or in a folder beside it.
        decision: name of the decision, when the file holds several tables.
        inputs: input expression of the table to a column, or to one of record_type, score, required_present,
            failed_rules.
        output: name of the output column, when there are several.
        verdicts: output value to pass, review or reject.
    """

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
    decision: str | None = None
    inputs: dict[str, str] = {}
    output: str | None = None
    verdicts: dict[str, Outcome] = {}


class HashMask(_Strict):
    """Keyed hash (HMAC-SHA256); the key is a reference."""

    hash: str

    @model_validator(mode="after")
    def _a_reference(self) -> HashMask:
        try:
            check_reference(self.hash)
        except SettingsError:
            raise ValueError("the key is given as a reference, env:NAME") from None
        return self


Mask = HashMask | Literal["redact", "drop"]


class GateFile(_Strict):
    """The whole file."""

    record_type: str | None = None
    required: Names = []
    rules: list[Rule] = Field([], max_length=500)
    score: Score | None = None
    decision: Decision | None = None
    masks: dict[str, Mask] = {}


_MODELS: dict[str, type[BaseModel]] = {
    "rules": Rule,
    "score": Score,
    "decision": Decision,
    "masks": HashMask,
}
_ALTERNATIVES = ("HashMask", "literal[", "function-")


def read_gate_file(path: Path) -> tuple[GateFile, Document]:
    """Read and check one file, without yet knowing its entity.

    Raises:
        GateDefinitionError: names file, line, key and the nearest valid name.
    """
    document = load_document(path)
    if not isinstance(document.data, dict):
        keys = ", ".join(GateFile.model_fields)
        raise document.fault(f"it must hold keys: {keys}.")
    try:
        gate = GateFile.model_validate(document.data)
    except ValidationError as error:
        raise _first_fault(document, error) from None
    seen: set[str] = set()
    for index, rule in enumerate(gate.rules):
        if rule.name in seen:
            what = f"a rule {rule.name!r} is defined above already."
            raise document.fault(what, ("rules", index, "name"))
        seen.add(rule.name)
    return gate, document


def _first_fault(document: Document, error: ValidationError) -> Exception:
    """The first problem; of a mask's alternatives, the one that fits best."""
    problem, *_ = error.errors(include_url=False)
    location = _location_of(problem)
    kind = problem["type"]
    is_mask = len(location) >= 2 and location[0] == "masks"
    if is_mask and kind != "value_error":
        return document.fault("a mask is redact, drop, or {hash: env:NAME}.", location[:2])
    if kind == "extra_forbidden":
        known = _model_at(location).model_fields
        hint = nearest(location[-1], known)
        return document.fault(f"there is no such key.{hint}", location)
    if kind == "literal_error":
        choices = _choices_in(problem["ctx"]["expected"])
        given = problem["input"]
        hint = nearest(given, choices)
        what = f"{given!r} is not one of {', '.join(choices)}.{hint}"
        return document.fault(what, location)
    reason = problem["msg"].removeprefix("Value error, ")
    return document.fault(f"{reason}.", location)


def _location_of(problem: Mapping[str, Any]) -> Location:
    """The place of a problem in the file, without the names that pydantic gives to the alternatives of a type."""
    parts = []
    for part in problem["loc"]:
        if not str(part).startswith(_ALTERNATIVES):
            parts.append(part)
    return tuple(parts)


def _model_at(location: Location) -> type[BaseModel]:
    """The model whose key is at a place."""
    if len(location) == 1:
        return GateFile
    outermost = str(location[0])
    return _MODELS.get(outermost, GateFile)


def _choices_in(expected: str) -> list[str]:
    """The values in pydantic's "'a', 'b' or 'c'"."""
    listed = expected.replace(" or ", ", ")
    choices = listed.split(",")
    return [choice.strip("' ") for choice in choices]
