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
        places = [f"line {one.line}, column {one.column}" for one in error.locations or ()]
        shown = ", ".join(places)
        raise ValueError(f"{error.message} ({shown})") from None
    except (GraphQLError, RecursionError) as error:
        raise ValueError(str(error) or "it is nested too deeply") from None
    operations = []
    has_others = False
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            operations.append(definition)
        elif not isinstance(definition, FragmentDefinitionNode):
            has_others = True
    if len(operations) != 1 or has_others:
        raise ValueError("a document of an endpoint has one query, and fragments beside it")
    query_node = operations[0]
    if query_node.operation is not OperationType.QUERY:
        raise ValueError(f"a {query_node.operation.value} is never sent; only a query is")
    names = [one.variable.name.value for one in query_node.variable_definitions]
    return frozenset(names)
