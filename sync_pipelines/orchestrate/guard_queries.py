"""What a GraphQL document would do, without executing it."""

from __future__ import annotations

from graphql import GraphQLError, OperationDefinitionNode, parse

MAX_TOKENS = 20_000  # the largest document of Dagster's UI has 3 000


def operations_of(document: object) -> set[str] | None:
    """Return the kinds of operation of a document: `query`, `mutation`, `subscription`.

    All of them, whichever is chosen.

    None when it is no document, has no operation, or is too large to be one of the UI's.
    """
    if not isinstance(document, str):
        return None
    try:
        definitions = parse(document, no_location=True, max_tokens=MAX_TOKENS).definitions
    except (GraphQLError, RecursionError):
        return None
    kinds = {
        definition.operation.value
        for definition in definitions
        if isinstance(definition, OperationDefinitionNode)
    }
    return kinds or None
