"""Factory of the destination, as dlt lays out its own: `dlt.pipeline(destination=trino())`."""

from __future__ import annotations

from typing import Any

from dlt.common.data_writers.escape import escape_athena_identifier, escape_postgres_literal
from dlt.common.destination import Destination, DestinationCapabilitiesContext

from sync_pipelines.destinations.trino.configuration import TrinoClientConfiguration
from sync_pipelines.destinations.trino.dlt_client import TrinoClient


class trino(Destination[TrinoClientConfiguration, TrinoClient]):  # noqa: N801 - dlt names destinations like functions
    """Trino with Iceberg tables: a load package becomes one commit."""

    spec = TrinoClientConfiguration

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        capabilities = DestinationCapabilitiesContext()
        capabilities.preferred_loader_file_format = "parquet"
        capabilities.supported_loader_file_formats = ["parquet"]
        capabilities.naming_convention = "direct"
        capabilities.escape_identifier = escape_athena_identifier
        capabilities.escape_literal = escape_postgres_literal
        capabilities.casefold_identifier = str.lower
        capabilities.has_case_sensitive_identifiers = False
        capabilities.decimal_precision = (38, 9)
        capabilities.wei_precision = (38, 0)
        capabilities.max_identifier_length = 255
        capabilities.max_column_identifier_length = 255
        capabilities.max_query_length = 1_000_000
        capabilities.is_max_query_length_in_bytes = False
        capabilities.max_text_data_type_length = 2**31 - 1
        capabilities.is_max_text_data_type_length_in_bytes = True
        capabilities.supports_transactions = False
        capabilities.supports_ddl_transactions = False
        capabilities.supports_multiple_statements = False
        capabilities.alter_add_multi_column = False
        capabilities.supports_truncate_command = False
        capabilities.timestamp_precision = 6
        capabilities.sqlglot_dialect = "trino"
        return capabilities

    @property
    def client_class(self) -> type[TrinoClient]:
        """The job client with the publish step."""
        return TrinoClient

    def __init__(self, destination_name: str | None = None, environment: str | None = None, **kwargs: Any) -> None:
        super().__init__(destination_name=destination_name, environment=environment, **kwargs)


trino.register()
