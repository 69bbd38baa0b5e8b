"""The exports of the packages are complete, sorted and documented."""

import inspect
import pickle
import re
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, TypeGuard

import gcf_pipes
import gcf_pipes._shared.errors
import pytest

import dagster_gcf_pipes
import dagster_gcf_pipes._errors
import dagster_gcf_pipes.local
import dagster_gcf_pipes.testing

PACKAGES = [dagster_gcf_pipes, dagster_gcf_pipes.local, dagster_gcf_pipes.testing, gcf_pipes]
TREES = [(dagster_gcf_pipes, dagster_gcf_pipes._errors), (gcf_pipes, gcf_pipes._shared.errors)]  # noqa: SLF001


def public_names(package: ModuleType) -> list[str]:
    """The public names of a package that are its own."""
    names = [name for name in dir(package) if not name.startswith("_")]
    return [name for name in names if is_own(getattr(package, name), package)]


def is_own(value: object, package: ModuleType) -> bool:
    """Whether a value is a constant, or was defined in the package."""
    return isinstance(value, str) or getattr(value, "__module__", "").startswith(package.__name__)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names as ruff does: constants, classes, functions."""
    return sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))


def is_error(value: object) -> TypeGuard[type[Exception]]:
    return inspect.isclass(value) and issubclass(value, Exception)


def error_classes(module: ModuleType) -> list[type[Exception]]:
    """The error classes that a module defines itself."""
    package = module.__name__.partition(".")[0]
    return [error for _, error in inspect.getmembers(module, is_error) if error.__module__ == package]


def drawn_parents(tree: str) -> Iterator[tuple[str, str]]:
    """Yield each class of a drawn tree with the class that it hangs below, by their columns."""
    above: list[tuple[int, str]] = []
    for line in re.finditer(r"^ {4}((?:│? +)*(?:[├└]── )?)(\w[\w.]*)", tree, re.MULTILINE):
        column, name = len(line[1]), line[2].rpartition(".")[2]
        while above and above[-1][0] >= column:
            above.pop()
        if above:
            yield name, above[-1][1]
        above.append((column, name))


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_sorted_and_without_repetition(package: Any) -> None:
    assert package.__all__ == in_order(set(package.__all__))


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_complete(package: Any) -> None:
    assert package.__all__ == in_order(set(public_names(package)))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_has_a_docstring_of_its_own(package: Any) -> None:
    assert [name for name in package.__all__ if not getattr(package, name).__doc__] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_errors_name_the_public_module_as_their_home(package: Any) -> None:
    errors = [error for name in package.__all__ if is_error(error := getattr(package, name))]
    assert {error.__module__ for error in errors} <= {package.__name__}


@pytest.mark.parametrize("error_class", [error for _, errors in TREES for error in error_classes(errors)])
def test_every_error_can_be_raised_bare_and_pickled(error_class: Any) -> None:
    assert isinstance(error_class(), error_class)
    error = error_class("text")
    error.http_status = 503
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.http_status) == (error_class, "text", 503)


@pytest.mark.parametrize(("package", "errors"), TREES)
def test_every_error_is_exported(package: Any, errors: ModuleType) -> None:
    assert {error.__name__ for error in error_classes(errors)} <= set(package.__all__)


@pytest.mark.parametrize("errors", [errors for _, errors in TREES])
def test_every_error_is_drawn_below_its_base(errors: ModuleType) -> None:
    assert dict(drawn_parents(inspect.getdoc(errors) or "")) == {
        error.__name__: error.__bases__[0].__name__ for error in error_classes(errors)
    }
