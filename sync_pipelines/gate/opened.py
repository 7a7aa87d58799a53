"""A gate as one run uses it: rules, masks with their keys, what persons waived, and the tally."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
import pyarrow as pa

from sync_pipelines.errors import ConfigurationError, MaskLostError
from sync_pipelines.gate.compiled import CompiledRule
from sync_pipelines.gate.contract import Violation
from sync_pipelines.gate.files import gate_path, load_gate
from sync_pipelines.gate.judge import Gate, Verdicts
from sync_pipelines.gate.masks import Masks, open_masks
from sync_pipelines.gate.tally import Tally
from sync_pipelines.model.entity import Entity


@dataclass
class OpenedGate:
    """The step between extract and load for one entity.

    Attributes:
        entity: as declared, and as the catalog has it now; the gate's own may be older.
        gate: rules and decision table.
        masks: None when nothing is masked.
        waived: fingerprints of records that a person let pass.
    """

    entity: Entity
    gate: Gate
    masks: Masks | None
    waived: frozenset[str] = frozenset()
    tally: Tally = field(default_factory=Tally)

    @property
    def stored_entity(self) -> Entity:
        """The entity as its table has it."""
        return self.masks.stored_entity if self.masks else self.entity

    @property
    def fingerprints(self) -> dict[str, str]:
        """What the catalog keeps of the masks."""
        return self.masks.fingerprints() if self.masks else {}

    @property
    def masked(self) -> frozenset[str]:
        """Every masked column."""
        return self.masks.names if self.masks else frozenset()

    def for_masked(self, clear: frozenset[str] = frozenset()) -> OpenedGate:
        """This gate for records that are masked already, as they are in quarantine, but for some columns given anew.

        Rules over values that are hidden count as passed: they were judged when the values were there.

        Raises:
            ConfigurationError: the decision table itself judges a hidden column.
        """
        hidden = self.masked - clear
        if not hidden or self.masks is None:
            return self
        judged_hidden = sorted(self._judged_by_table & hidden)
        if judged_hidden:
            raise ConfigurationError(
                f"The decision table judges {judged_hidden[0]}, which is masked, so the record cannot be"
                " judged again.",
                where=dict(self.entity.where),
                next_command="sync-pipelines quarantine waive UID, or fix it with the clear value",
            )
        entity = _with_texts(self.entity, hidden)
        masks = replace(
            self.masks.restricted(clear),
            entity=entity,
            dropped=self.masks.dropped,
        )
        rules = []
        for rule in self.gate.rules:
            is_blind = not hidden.isdisjoint(_looks_at(rule))
            rules.append(rule.passing(entity) if is_blind else rule)
        gate = replace(self.gate, entity=entity, rules=tuple(rules))
        return OpenedGate(entity, gate, masks)

    @property
    def _judged_by_table(self) -> set[str]:
        """The columns that the decision table and the record type look at."""
        expressions: list[pl.Expr] = []
        if self.gate.decision is not None:
            expressions += self.gate.decision.sources
        if self.gate.record_type is not None:
            expressions.append(self.gate.record_type)
        names: set[str] = set()
        for expression in expressions:
            names.update(expression.meta.root_names())
        return names

    def judge(self, batch: pa.Table, violations: list[Violation]) -> Verdicts:
        """Judge a batch of declared columns."""
        return self.gate.judge(batch, violations, self.tally)

    def mask(self, columns: list[pa.Array]) -> list[pa.Array]:
        """Declared columns as stored ones."""
        return self.masks.apply(columns) if self.masks else columns


def _looks_at(rule: CompiledRule) -> set[str]:
    names = set(rule.columns)
    if rule.when is not None:
        names.update(rule.when.meta.root_names())
    return names


def _with_texts(entity: Entity, names: frozenset[str]) -> Entity:
    """The entity with some columns as texts, as masks leave them."""
    columns = []
    for column in entity.columns:
        if column.name in names:
            column = replace(column, data_type="TEXT")
        columns.append(column)
    return replace(entity, columns=tuple(columns))


def open_gate(folder: Path, entity: Entity) -> OpenedGate | None:
    """The gate of an entity; None when it has no file and never had masks.

    Raises:
        GateDefinitionError: a file is wrong.
        SecretMissingError: the key of a mask is not there.
        MaskLostError: the table was stored with masks that are not configured any more.
    """
    gate = load_gate(folder, entity)
    masks = None if gate is None else open_masks(gate.definition, entity)
    configured = masks.names if masks else frozenset()
    stored = entity.position.stored_masks
    declared = {column.name for column in entity.columns}
    lost = sorted(declared.intersection(stored) - configured)
    if lost:
        raise MaskLostError(
            f"The column {lost[0]} was masked so far, and {gate_path(folder, entity)} does not mask it any more.",
            where=dict(entity.where),
            next_command="put the mask back, or store clear values on purpose: sync-pipelines gate unmask"
            f" {entity.path} {lost[0]}",
        )
    if gate is None:
        return None
    return OpenedGate(entity, gate, masks)


def newly_masked(entity: Entity, opened: OpenedGate | None) -> frozenset[str]:
    """Columns whose stored values were masked in another way or not at all; everything must be read again."""
    if opened is None:
        return frozenset()
    stored = entity.position.stored_masks
    changed = opened.fingerprints.items() - stored.items()
    return frozenset(name for name, _ in changed)


def check_stored_masks(entity: Entity, opened: OpenedGate | None) -> None:
    """Refuse to go on where the table was not written with the masks that are configured.

    Raises:
        ConfigurationError: it must be read anew first.
    """
    if newly_masked(entity, opened):
        raise ConfigurationError(
            f"The masks of {entity.path} changed, so the table must be read anew first.",
            where=dict(entity.where),
            next_command=f"sync-pipelines sync {entity.path}",
        )
