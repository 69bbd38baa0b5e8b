"""Directives for the reference pages. They take from the code what a page would otherwise repeat.

- `resource-fields`: the fields of the resource, with their types, defaults and descriptions
- `component-attributes`: the attributes of a component or of a part of it, as in its YAML file
- `constants`: a table of constants, one a line, with their values and docstrings; with a module, if all are in that
- `error-codes`: a table of the function side's errors, with their codes, statuses and meanings
- `conformance-requirements`: a table of what `dagster-gcf-pipes conformance` checks
- `cases`: a table of the end-to-end cases of the tests, and what they run against
- `metadata-key`, `http-header`: an entry with an anchor, as `envvar` is one

It also adds the facts of each error class to its docstring.
"""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import gcf_pipes
from docutils import nodes
from gcf_pipes import GcfPipesError
from pydantic_core import PydanticUndefined
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import dagster_gcf_pipes
from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes._conformance.requirements import REQUIREMENTS
from tests.cases.case import SUBJECTS, Case
from tests.cases.catalogue import CASES

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_COMPUTED = "__DAGSTER_UNSET_DEFAULT__"
"""What Dagster's model of a YAML file has in place of a default that is not a scalar."""
KIBIBYTE = 1024
UNITS = (("MiB", KIBIBYTE**2), ("KiB", KIBIBYTE))


class ResourceFields(SphinxDirective):
    """The fields of the resource."""

    def run(self) -> list[nodes.Node]:
        """Return an entry for each field."""
        return self.parse_text_to_nodes("\n".join(map(_field_entry, PipesCloudFunctionClient.model_fields)))


class ComponentAttributes(SphinxDirective):
    """The attributes of a component."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return an entry for each attribute that has a description."""
        component = getattr(dagster_gcf_pipes, self.arguments[0])
        described = {name: field for name, field in component.model().model_fields.items() if field.description}
        entries = (
            _entry(
                f"{component.__name__}.{name}",
                component.model_fields[name].annotation,
                field.default,
                field.description,
            )
            for name, field in described.items()
        )
        return self.parse_text_to_nodes("\n".join(entries))


class Constants(SphinxDirective):
    """A table of constants."""

    optional_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a row for each constant."""
        rows = ["| name | value | meaning |", "|---|---|---|"]
        for line in self.content:
            module, _, name = ".".join([*self.arguments, line]).rpartition(".")
            text = " ".join(ModuleAnalyzer.for_module(module).find_attr_docs()["", name]).strip()
            rows.append(f"| `{name}` | {_shown(name, getattr(import_module(module), name), text)} | {_cell(text)} |")
        return self.parse_text_to_nodes("\n".join(rows))


class ErrorCodes(SphinxDirective):
    """A table of the function side's errors."""

    def run(self) -> list[nodes.Node]:
        """Return a row for each error class."""
        rows = ["| code | status | error | meaning |", "|---|---|---|---|"]
        for error in sorted(_function_errors(), key=lambda error: (error.status, error.code)):
            meaning = (error.__doc__ or "").partition("\n")[0]
            rows.append(f"| `{error.code}` | {error.status} | `{error.__name__}` | {_cell(meaning)} |")
        return self.parse_text_to_nodes("\n".join(rows))


class ConformanceRequirements(SphinxDirective):
    """A table of what a function has to do."""

    def run(self) -> list[nodes.Node]:
        """Return a row for each requirement."""
        rows = ["| requirement | | what the function does |", "|---|---|---|"]
        for each in REQUIREMENTS:
            rows.append(f"| `{each.name}` | {'**required**' if each.required else 'optional'} | {_cell(each.text)} |")
        return self.parse_text_to_nodes("\n".join(rows))


class Cases(SphinxDirective):
    """A table of the end-to-end cases: a row for each, with a column for each subject."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        titles = ["area", "case", "what it shows", *(subject.title for subject in SUBJECTS)]
        rows = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *map(_case_row, CASES)]
        return self.parse_text_to_nodes("\n".join(rows))


def _case_row(case: Case) -> str:
    where = [case.why_not(subject) or "yes" for subject in SUBJECTS]
    return f"| {' | '.join([case.area, case.name, _cell(case.shows), *where])} |"


def _field_entry(name: str) -> str:
    field = PipesCloudFunctionClient.model_fields[name]
    return _entry(f"PipesCloudFunctionClient.{name}", field.annotation, field.default, field.description)


def _entry(name: str, annotation: Any, default: Any, description: str | None) -> str:
    return "\n".join(
        [
            f"::::{{py:attribute}} {name}",
            ":module: dagster_gcf_pipes",
            f":type: {_type_name(annotation)}",
            *([] if default in (PydanticUndefined, _COMPUTED) else [f":value: {json.dumps(repr(default))}"]),
            "",
            str(description),
            "::::",
            "",
        ]
    )


def _type_name(annotation: Any) -> str:
    """Name a type without the validators of its parts."""
    if hasattr(annotation, "__metadata__"):
        return _type_name(annotation.__origin__)
    if get_origin(annotation) is Literal:
        return f"Literal{[*get_args(annotation)]}"
    if (origin := get_origin(annotation)) not in (None, Union, UnionType):
        return f"{origin.__name__}[{', '.join(map(_type_name, get_args(annotation)))}]"
    if arguments := get_args(annotation):
        return " | ".join(map(_type_name, arguments))
    return "None" if annotation is type(None) else str(getattr(annotation, "__name__", annotation)).rpartition(".")[2]


def _function_errors() -> Iterator[type[GcfPipesError]]:
    for name in gcf_pipes.__all__:
        error = getattr(gcf_pipes, name)
        if isinstance(error, type) and issubclass(error, GcfPipesError) and error is not GcfPipesError:
            yield error


def _shown(name: str, value: Any, text: str) -> str:
    if isinstance(value, int | float):
        return _with_unit(name, value, text)
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"`{each.pattern if isinstance(each, re.Pattern) else each}`" for each in values)


def _with_unit(name: str, value: float, text: str) -> str:
    if name.endswith("_BYTES") or text.startswith("Bytes"):
        unit, factor = next(((unit, factor) for unit, factor in UNITS if value % factor == 0), ("bytes", 1))
        return f"{value // factor:,.0f} {unit}"
    return f"{value:,g} s" if re.search(r"\bseconds\b", text, re.IGNORECASE) else f"{value:,}"


def _cell(text: str) -> str:
    """Return a docstring as the cell of a table, with links."""
    return re.sub(r"(?<![<(])(https?://\S+[\w/#])", r"<\1>", text.replace("|", r"\|"))


def _add_facts_of_errors(*event: Any) -> None:
    """Say of an error class whether a retry may help, or its status and its code."""
    _, _, _, member, _, lines = event
    if hasattr(member, "retryable"):
        lines += ["", f"By default, Dagster's retry policy {'applies' if member.retryable else 'does not apply'}."]
    elif hasattr(member, "status") and hasattr(member, "code"):
        lines += ["", f"HTTP status {member.status}, code `{member.code}`."]


def setup(app: "Sphinx") -> dict[str, Any]:
    """Register the directives, and what is added to docstrings."""
    app.connect("autodoc-process-docstring", _add_facts_of_errors)
    app.add_directive("resource-fields", ResourceFields)
    app.add_directive("component-attributes", ComponentAttributes)
    app.add_directive("constants", Constants)
    app.add_directive("error-codes", ErrorCodes)
    app.add_directive("conformance-requirements", ConformanceRequirements)
    app.add_directive("cases", Cases)
    for name in ("metadata-key", "http-header"):
        app.add_object_type(name, name)
    return {"version": "1", "parallel_read_safe": True}
