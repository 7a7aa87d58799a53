"""What an error is, as columns: its code, its category, the HTTP status, and whether the source answered.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Older rows hold names of classes, as they were called until now: name, code, category.
_KNOWN = """
    ('SourceUnreachableError', 'source_unreachable', 'unreachable'), ('SourceBusyError', 'source_busy', 'unreachable'),
    ('NoTurnError', 'no_turn', 'busy'), ('BrokenPageError', 'broken_page', 'answered'),
    ('IncompleteAnswerError', 'incomplete_answer', 'answered'), ('EntityBusyError', 'entity_busy', 'busy'),
    ('InterruptedRunError', 'cancelled', 'cancelled'), ('InterruptedRun', 'process_died', 'died'),
    ('DatabaseUnavailableError', 'database_unavailable', 'database'),
    ('DatabaseConnectionsError', 'database_connections', 'connections'),
    ('DatabaseRefusedError', 'database_refused', 'database'), ('ConfigurationError', 'configuration', 'setup'),
    ('SettingsError', 'settings', 'setup'), ('SecretMissingError', 'secret_missing', 'setup'),
    ('AuthenticationError', 'authentication', 'answered'), ('SourceContractError', 'source_contract', 'answered'),
    ('GuardError', 'guard', 'setup'), ('RunLimitError', 'run_limit', 'setup'),
    ('UnknownTypeError', 'unknown_type', 'answered'), ('EntityDefinitionError', 'entity_definition', 'answered'),
    ('GateDefinitionError', 'gate_definition', 'setup'), ('MaskLostError', 'mask_lost', 'setup'),
    ('SchemaDriftError', 'schema_drift', 'decision'), ('NotFoundError', 'not_found', 'setup'),
    ('RecordError', 'record', 'answered'), ('LedgerError', 'ledger', 'answered'),
    ('CursorProtocolError', 'cursor_protocol', 'answered'), ('UnsortedPageError', 'unsorted_page', 'answered'),
    ('SupersededRunError', 'superseded_run', 'busy')
"""
_ANSWERED = """
    CASE category WHEN 'answered' THEN true WHEN 'decision' THEN true WHEN 'unreachable' THEN false END
"""


def upgrade() -> None:
    op.execute(
        f"""
        WITH known (name, code, category) AS (VALUES {_KNOWN})
        UPDATE sync_runs r SET error_details = jsonb_build_object('code', k.code, 'category', k.category,
                'answered', {_ANSWERED.replace("category", "k.category")}) || r.error_details
            FROM known k WHERE r.error_details->>'error' = k.name;
        ALTER TABLE sync_runs
            ADD COLUMN error_code text GENERATED ALWAYS AS (error_details->>'code') STORED,
            ADD COLUMN error_category text GENERATED ALWAYS AS (error_details->>'category') STORED,
            ADD COLUMN error_status integer GENERATED ALWAYS AS ((error_details->>'status')::integer) STORED,
            ADD COLUMN error_answered boolean GENERATED ALWAYS AS ((error_details->>'answered')::boolean) STORED;
        ALTER TABLE connectors ADD COLUMN last_discovery_error_code text,
            ADD COLUMN last_discovery_error_category text, ADD COLUMN last_discovery_error_status integer,
            ADD COLUMN last_discovery_error_answered boolean;
        WITH known (name, code, category) AS (VALUES {_KNOWN})
        UPDATE connectors c SET last_discovery_error_code = k.code, last_discovery_error_category = k.category,
                last_discovery_error_answered = {_ANSWERED.replace("category", "k.category")}
            FROM known k WHERE c.last_discovery_error_kind = k.name;
        ALTER TABLE connectors DROP COLUMN last_discovery_error_kind;
        """
    )


def downgrade() -> None:
    op.execute(
        f"""
        ALTER TABLE connectors ADD COLUMN last_discovery_error_kind varchar(100);
        WITH known (name, code, category) AS (VALUES {_KNOWN})
        UPDATE connectors c SET last_discovery_error_kind = k.name FROM known k
            WHERE c.last_discovery_error_code = k.code;
        ALTER TABLE connectors DROP COLUMN last_discovery_error_code, DROP COLUMN last_discovery_error_category,
            DROP COLUMN last_discovery_error_status, DROP COLUMN last_discovery_error_answered;
        ALTER TABLE sync_runs DROP COLUMN error_code, DROP COLUMN error_category, DROP COLUMN error_status,
            DROP COLUMN error_answered;
        """
    )
