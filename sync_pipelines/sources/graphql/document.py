"""A GraphQL query of a connector file: that it only reads, and which variables it takes."""

from __future__ import annotations

from graphql import GraphQLError, GraphQLSyntaxError, OperationDefinitionNode, OperationType, parse
from graphql.language import FragmentDefinitionNode

MAX_TOKENS = 20_000


def variables_of(query: str) -> frozenset[str]:
    """Names of the variables that a query declares.

    Raises:
        ValueError: it is not exactly one query; a mutation is never sent.
    """
    try:
        document = parse(query, no_location=True, max_tokens=MAX_TOKENS)
    except GraphQLSyntaxError as error:
        places = ", ".join(
            f"line {place.line}, column {place.column}" for place in error.locations or ()
        )
        raise ValueError(f"{error.message} ({places})") from None
    except (GraphQLError, RecursionError) as error:
        raise ValueError(str(error) or "it is nested too deeply") from None
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    others = [
        one
        for one in document.definitions
        if not isinstance(one, (OperationDefinitionNode, FragmentDefinitionNode))
    ]
    if len(operations) != 1 or others:
        raise ValueError("a document of an endpoint has one query, and fragments beside it")
    if operations[0].operation is not OperationType.QUERY:
        raise ValueError(f"a {operations[0].operation.value} is never sent; only a query is")
    return frozenset(one.variable.name.value for one in operations[0].variable_definitions)
