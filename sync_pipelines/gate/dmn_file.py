"""Decision tables out of a DMN file. XML is read without DTD, entities or anything from outside."""

from __future__ import annotations

from dataclasses import replace
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
            what = f"there is no decision table {name!r}.{nearest(name, tables)}"
            raise definition_fault(path, None, what)
        return tables[name]
    if len(tables) != 1:
        hint = nearest("", tables)
        what = f"it holds {len(tables)} decision tables; name one under decision.decision.{hint}"
        raise definition_fault(path, None, what)
    (table,) = tables.values()
    return table


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        parser = _Parser()
        try:
            parser.feed(read_bounded(path))
            self.root: Element = parser.close()
        except DefusedXmlException as error:
            what = f"a DTD or entities are not allowed ({type(error).__name__})."
            raise definition_fault(path, None, what) from None
        except ParseError as error:
            line, _ = error.position
            raise definition_fault(
                path,
                line,
                f"it is not XML: {error}.",
            ) from None
        self.lines = parser.lines
        self._kept = parser.kept
        namespace, _, tag = self.root.tag.partition("}")
        self.namespace = namespace.removeprefix("{")
        if tag != "definitions" or not self.namespace.startswith(_NAMESPACES):
            what = "it is no DMN document: the root is not dmn:definitions."
            raise definition_fault(path, 1, what)

    def tables(self) -> dict[str, DecisionTable]:
        found: dict[str, DecisionTable] = {}
        for decision in self._all(self.root, "decision"):
            name = decision.get("name", "")
            table = self._one(decision, "decisionTable")
            if table is not None:
                found[name] = self._table(name, table)
        if not found:
            raise definition_fault(self.path, 1, "it holds no decision table.")
        return found

    def _table(self, name: str, element: Element) -> DecisionTable:
        policy = self._policy(element)
        aggregation = self._aggregation(element, policy)
        rules = self._all(element, "rule")
        inputs = self._all(element, "input")
        outputs = self._all(element, "output")
        if not inputs or not outputs or not rules or len(rules) > MAX_RULES:
            raise self._fault(element, f"a table needs inputs, outputs and 1 to {MAX_RULES} rules.")
        read_rules = tuple(
            self._rule(number, rule, len(inputs), len(outputs))
            for number, rule in enumerate(rules, 1)
        )
        read_inputs = [self._input(index, one, read_rules) for index, one in enumerate(inputs)]
        read_outputs = [self._output(name, output) for output in outputs]
        defaults = [self._one(output, "defaultOutputEntry") for output in outputs]
        table = DecisionTable(
            name,
            policy,
            inputs=tuple(read_inputs),
            outputs=tuple(read_outputs),
            rules=read_rules,
            aggregation=aggregation,
            has_default=None not in defaults,
        )
        self._check(element, table)
        return table

    def _policy(self, element: Element) -> HitPolicy:
        name = element.get("hitPolicy", "UNIQUE").upper()
        if name not in HitPolicy.__members__:
            hint = nearest(name, HitPolicy.__members__)
            raise self._fault(element, f"the hit policy {name!r} is not supported.{hint}")
        return HitPolicy(name)

    def _aggregation(self, element: Element, policy: HitPolicy) -> Aggregation | None:
        name = element.get("aggregation", "").upper()
        if not name:
            return None
        if policy is not HitPolicy.COLLECT or name not in Aggregation.__members__:
            raise self._fault(
                element,
                f"the aggregation {name!r} is not supported for {policy}; COLLECT has SUM, MIN, MAX, COUNT.",
            )
        return Aggregation(name)

    def _input(
        self,
        index: int,
        element: Element,
        rules: tuple[TableRule, ...],
    ) -> Input:
        expression = self._one(element, "inputExpression")
        name = "" if expression is None else self._text(expression)
        if expression is None or not name:
            what = "an input needs an inputExpression with the name of a value."
            raise self._fault(element, what)
        kinds: set[Kind] = set()
        for rule in rules:
            kinds |= rule.tests[index].kinds
        values = self._one(element, "inputValues")
        allowed = None
        if values is not None and self._text(values):
            allowed = self._tests(values, f"the input values of {name!r}")
            kinds |= allowed.kinds
        _, _, type_name = expression.get("typeRef", "").rpartition(":")
        if type_name in _KINDS:
            kinds.add(_KINDS[type_name])
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
        output = Output(name)
        if values is not None and self._text(values):
            listed = self._literals(values, f"the output values of {name!r}")
            output = replace(output, values=listed)
        if default is not None:
            first, *_ = self._literals(default, f"the default of {name!r}")
            output = replace(output, default=first)
        return output

    def _rule(
        self,
        number: int,
        element: Element,
        inputs: int,
        outputs: int,
    ) -> TableRule:
        conditions = self._all(element, "inputEntry")
        answers = self._all(element, "outputEntry")
        if len(conditions) != inputs or len(answers) != outputs:
            raise self._fault(
                element,
                f"rule {number} has {len(conditions)} conditions and {len(answers)} outputs, the table {inputs} and"
                f" {outputs}.",
            )
        tests = []
        for place, entry in enumerate(conditions, 1):
            tests.append(self._tests(entry, f"rule {number}, condition {place}"))
        values: list[Value] = []
        for place, entry in enumerate(answers, 1):
            values += self._literals(entry, f"rule {number}, output {place}")
            if len(values) != place:
                raise self._fault(element, f"rule {number}: an output is one literal.")
        note = self._one(element, "annotationEntry")
        annotation = "" if note is None else self._text(note)
        return TableRule(
            tuple(tests),
            tuple(values),
            annotation or None,
        )

    def _check(self, element: Element, table: DecisionTable) -> None:
        if table.aggregation is not None:
            self._check_aggregation(element, table, table.aggregation)
        has_ranks = False
        for place, output in enumerate(table.outputs):
            if output.values:
                has_ranks = True
                self._check_answers(element, table, place, output)
        if table.policy is HitPolicy.PRIORITY and not has_ranks:
            raise self._fault(element, "PRIORITY needs outputValues, the most important first.")

    def _check_aggregation(
        self,
        element: Element,
        table: DecisionTable,
        aggregation: Aggregation,
    ) -> None:
        answers = [rule.outputs[0] for rule in table.rules]
        kinds = {kind_of(answer) for answer in answers if answer is not None}
        adds_up = aggregation is Aggregation.COUNT or kinds <= {"number"}
        if len(table.outputs) != 1 or not adds_up:
            raise self._fault(element, f"{aggregation} needs a single output of numbers.")

    def _check_answers(
        self,
        element: Element,
        table: DecisionTable,
        place: int,
        output: Output,
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
        content = None if text is None else text.text
        return (content or "").strip()

    def _one(self, element: Element, tag: str) -> Element | None:
        return element.find(f"{{{self.namespace}}}{tag}")

    def _all(self, element: Element, tag: str) -> list[Element]:
        return element.findall(f"{{{self.namespace}}}{tag}")

    def _fault(self, element: Element, what: str) -> GateDefinitionError:
        line = self.lines.get(id(element))
        return definition_fault(self.path, line, what)
