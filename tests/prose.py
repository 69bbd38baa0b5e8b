"""The text that people read, as sentences."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeGuard

from markdown_it import MarkdownIt
from markdown_it.token import Token

CODE: Final = "code"
"""Stands for a code span: it counts as one word."""


def markdown_sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a page, also of its tables, with their lines; code blocks have none."""
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text()):
        if token.type == "inline":
            line = token.map[0] + 1 if token.map else 0
            yield from ((line, sentence) for sentence in _sentences(_plain(token)))


def code_sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a module's docstrings, errors, log lines and descriptions, with the lines of each text."""
    for node in _texts(ast.parse(path.read_text())):
        text = inspect.cleandoc("".join(_part(part) for part in _parts(node)))
        for paragraph in re.split(r"\n\n+|\n- |\n(?=Fix: )|(?:code)+(?=[A-Z])|\n +(?=\w+: )", text):
            if not paragraph.startswith("    "):  # code, or a table
                sentences = _sentences(re.sub(r"``?[^`]+``?", CODE, paragraph))
                yield from ((node.lineno, sentence) for sentence in sentences)


def _texts(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.JoinedStr) or _is_text(node):
        yield node
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.values if isinstance(node, ast.JoinedStr) else [node]


def _part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else CODE


def _is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _plain(token: Token) -> str:
    texts = {"code_inline": CODE, "softbreak": " ", "hardbreak": " ", "html_inline": "", "image": ""}
    return "".join(texts.get(child.type, child.content) for child in token.children or [])


def _sentences(text: str) -> list[str]:
    text = re.sub(r"\{\w+\}|https?://\S+", "", " ".join(text.split()))
    return [sentence for sentence in re.split(r"(?<=[.!?])\)?\s+(?=[\"'(`A-Z]|code\b)|:\s+", text) if " " in sentence]
