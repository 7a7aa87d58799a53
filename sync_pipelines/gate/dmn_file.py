"""Decision tables out of a DMN file. XML is read without DTD, entities or anything from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from sync_pipelines.errors import GateDefinitionError
from sync_pipelines.gate.dmn.feel import (
    FeelError,
    Kind,
    UnaryTests,
    Value,
    kind_of,
    parse_literals,
    parse_tests,
)
from sync_pipelines.gate.dmn.table import (
    Aggregation,
    DecisionTable,
    HitPolicy,
    Input,
    Output,
    TableRule,
)
from sync_pipelines.gate.document import definition_fault, nearest, read_bounded

MAX_RULES = 1000
_NAMESPACES = ("https://www.omg.org/spec/DMN/", "http://www.omg.org/spec/DMN/")
_KINDS: dict[str, Kind] = {
    "string": "string",
    "number": "number",
    "boolean": "boolean",
    "date": "date",
}


class _Parser(DefusedXMLParser):
    """Remembers the line of every element."""

    def __init__(self) -> None:
        super().__init__(forbid_dtd=True, target=TreeBuilder())
        self.lines: dict[int, int] = {}
        self.kept: list[Element] = []

    def _start(self, tag: str, attributes: Any) -> Any:
        # The pure Python parser of the standard library builds elements here; its stubs know no private names.
        element = super()._start(tag, attributes)  # type: ignore[misc]
        if isinstance(element, Element):
            self.lines[id(element)] = self.parser.CurrentLineNumber
            self.kept.append(element)
        return element


def read_tables(path: Path) -> dict[str, DecisionTable]:
    """The decision tables of a file by the name of their decision.

    Raises:
        GateDefinitionError: names file, line, rule and what is not supported.
    """
    return _Reader(path).tables()


def read_table(path: Path, name: str | None = None) -> DecisionTable:
    """The decision table of a file, or the one of a named decision.

    Raises:
        GateDefinitionError: there is none, or several and no name.
    """
    tables = read_tables(path)
    if name is not None:
        if name not in tables:
            raise definition_fault(
                path, None, f"there is no decision table {name!r}.{nearest(name, tables)}"
            )
        return tables[name]
    if len(tables) != 1:
        raise definition_fault(
            path,
            None,
            f"it holds {len(tables)} decision tables; name one under decision.decision.{nearest('', tables)}",
        )
    return next(iter(tables.values()))


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        parser = _Parser()
        try:
            parser.feed(read_bounded(path))
            self.root: Element = parser.close()
        except DefusedXmlException as error:
            raise definition_fault(
                path, None, f"a DTD or entities are not allowed ({type(error).__name__})."
            ) from None
        except ParseError as error:
            raise definition_fault(path, error.position[0], f"it is not XML: {error}.") from None
        self.lines = parser.lines
        self._kept = parser.kept
        self.namespace = self.root.tag.partition("}")[0].removeprefix("{")
        if (
            not self.namespace.startswith(_NAMESPACES)
            or self.root.tag != f"{{{self.namespace}}}definitions"
        ):
            raise definition_fault(
                path, 1, "it is no DMN document: the root is not dmn:definitions."
            )

    def tables(self) -> dict[str, DecisionTable]:
        found: dict[str, DecisionTable] = {}
        for decision in self._all(self.root, "decision"):
            table = self._one(decision, "decisionTable")
            if table is not None:
                found[decision.get("name", "")] = self._table(decision.get("name", ""), table)
        if not found:
            raise definition_fault(self.path, 1, "it holds no decision table.")
        return found

    def _table(self, name: str, element: Element) -> DecisionTable:
        policy = element.get("hitPolicy", "UNIQUE").upper()
        if policy not in HitPolicy.__members__:
            raise self._fault(
                element,
                f"the hit policy {policy!r} is not supported.{nearest(policy, HitPolicy.__members__)}",
            )
        aggregation = element.get("aggregation", "").upper() or None
        if aggregation is not None and (
            policy != "COLLECT" or aggregation not in Aggregation.__members__
        ):
            raise self._fault(
                element,
                f"the aggregation {aggregation!r} is not supported for {policy}; COLLECT has SUM, MIN, MAX, COUNT.",
            )
        rules = self._all(element, "rule")
        inputs = self._all(element, "input")
        outputs = self._all(element, "output")
        if not inputs or not outputs or not rules or len(rules) > MAX_RULES:
            raise self._fault(element, f"a table needs inputs, outputs and 1 to {MAX_RULES} rules.")
        read = tuple(
            self._rule(number, rule, len(inputs), len(outputs))
            for number, rule in enumerate(rules, 1)
        )
        told = tuple(self._output(name, output) for output in outputs)
        defaults = [self._one(output, "defaultOutputEntry") is not None for output in outputs]
        table = DecisionTable(
            name,
            HitPolicy(policy),
            tuple(self._input(index, one, read) for index, one in enumerate(inputs)),
            told,
            read,
            None if aggregation is None else Aggregation(aggregation),
            all(defaults),
        )
        self._check(element, table)
        return table

    def _input(self, index: int, element: Element, rules: tuple[TableRule, ...]) -> Input:
        expression = self._one(element, "inputExpression")
        name = "" if expression is None else self._text(expression)
        if expression is None or not name:
            raise self._fault(
                element, "an input needs an inputExpression with the name of a value."
            )
        values = self._one(element, "inputValues")
        allowed = (
            None
            if values is None or not self._text(values)
            else self._tests(values, f"the input values of {name!r}")
        )
        kinds = set().union(
            *(rule.tests[index].kinds for rule in rules), allowed.kinds if allowed else set()
        )
        declared = _KINDS.get(expression.get("typeRef", "").rpartition(":")[2])
        if declared is not None:
            kinds.add(declared)
        if len(kinds) > 1:
            raise self._fault(
                element,
                f"the input {name!r} is compared with values of several types: {', '.join(sorted(kinds))}.",
            )
        return Input(name, next(iter(kinds), "string"), allowed)

    def _output(self, table: str, element: Element) -> Output:
        values = self._one(element, "outputValues")
        default = self._one(element, "defaultOutputEntry")
        name = element.get("name") or element.get("label") or table
        return Output(
            name,
            ()
            if values is None or not self._text(values)
            else self._literals(values, f"the output values of {name!r}"),
            None if default is None else self._literals(default, f"the default of {name!r}")[0],
        )

    def _rule(self, number: int, element: Element, inputs: int, outputs: int) -> TableRule:
        conditions = self._all(element, "inputEntry")
        answers = self._all(element, "outputEntry")
        if (len(conditions), len(answers)) != (inputs, outputs):
            raise self._fault(
                element,
                f"rule {number} has {len(conditions)} conditions and {len(answers)} outputs, the table {inputs} and"
                f" {outputs}.",
            )
        tests = tuple(
            self._tests(entry, f"rule {number}, condition {place}")
            for place, entry in enumerate(conditions, 1)
        )
        values = [
            self._literals(entry, f"rule {number}, output {place}")
            for place, entry in enumerate(answers, 1)
        ]
        if any(len(found) != 1 for found in values):
            raise self._fault(element, f"rule {number}: an output is one literal.")
        note = self._one(element, "annotationEntry")
        return TableRule(
            tests,
            tuple(found[0] for found in values),
            self._text(note) or None if note is not None else None,
        )

    def _check(self, element: Element, table: DecisionTable) -> None:
        if table.aggregation is not None:
            self._check_aggregation(element, table, table.aggregation)
        for place, output in enumerate(table.outputs):
            if output.values:
                self._check_answers(element, table, place, output)
        if table.policy is HitPolicy.PRIORITY and not any(
            output.values for output in table.outputs
        ):
            raise self._fault(element, "PRIORITY needs outputValues, the most important first.")

    def _check_aggregation(
        self, element: Element, table: DecisionTable, aggregation: Aggregation
    ) -> None:
        answers = [rule.outputs[0] for rule in table.rules if rule.outputs[0] is not None]
        adds_up = aggregation is Aggregation.COUNT or all(
            kind_of(answer) == "number" for answer in answers
        )
        if len(table.outputs) != 1 or not adds_up:
            raise self._fault(element, f"{aggregation} needs a single output of numbers.")

    def _check_answers(
        self, element: Element, table: DecisionTable, place: int, output: Output
    ) -> None:
        for number, rule in enumerate(table.rules, 1):
            answer = rule.outputs[place]
            if answer not in output.values:
                hint = nearest(answer, map(str, output.values))
                raise self._fault(
                    element,
                    f"rule {number} answers {answer!r}, which is not an output value of {output.name!r}.{hint}",
                )

    def _tests(self, element: Element, place: str) -> UnaryTests:
        try:
            return parse_tests(self._text(element))
        except FeelError as error:
            raise self._fault(element, f"{place}: {error}") from None

    def _literals(self, element: Element, place: str) -> tuple[Value, ...]:
        try:
            return parse_literals(self._text(element))
        except FeelError as error:
            raise self._fault(element, f"{place}: {error}") from None

    def _text(self, element: Element) -> str:
        text = self._one(element, "text")
        return "" if text is None else (text.text or "").strip()

    def _one(self, element: Element, tag: str) -> Element | None:
        return element.find(f"{{{self.namespace}}}{tag}")

    def _all(self, element: Element, tag: str) -> list[Element]:
        return element.findall(f"{{{self.namespace}}}{tag}")

    def _fault(self, element: Element, what: str) -> GateDefinitionError:
        return definition_fault(self.path, self.lines.get(id(element)), what)
