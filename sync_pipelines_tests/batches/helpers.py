"""Entities and pages made by hand."""

from __future__ import annotations

from uuid import uuid4

from sync_pipelines.batches.decode import Page, PageDecoder
from sync_pipelines.model.entity import Column, DeltaStrategy, Entity


def key(name: str, data_type: str = "TEXT") -> Column:
    """A column of the business key."""
    return Column(name, data_type, is_nullable=False, is_business_key=True)


def column(name: str, data_type: str = "TEXT", *, is_nullable: bool = True) -> Column:
    """A plain column."""
    return Column(name, data_type, is_nullable)


def entity_of(*columns: Column) -> Entity:
    """An entity with these columns."""
    return Entity(
        uuid4(), "erp", "items", "Items", "", DeltaStrategy.ROWVERSION, columns, "erp", "items"
    )


def page_of(*records: tuple[str, str]) -> bytes:
    """A page of (JSON text of `data`, JSON text of `row_version`)."""
    rows = [
        f'{{"oracle_keys": {{}}, "row_version": {version}, "data": {data}}}'
        for data, version in records
    ]
    return f'{{"rows": [{", ".join(rows)}]}}'.encode()


def decode(decoder: PageDecoder, number: int, body: bytes) -> Page:
    """A page with its columns."""
    page = decoder.decode(number, body)
    decoder.settle([page])
    return page
