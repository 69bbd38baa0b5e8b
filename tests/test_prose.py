"""The text that people read is plain English, as far as a test can tell."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.prose import code_sentences, markdown_sentences

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("cloud_function/*.md")])
MODULES = sorted([*ROOT.glob("dagster_gcf_pipes/**/*.py"), *ROOT.glob("cloud_function/**/*.py")])

AVOIDED = {
    "mend": "fix",
    "whom": "the name of who is meant",
    "thereof": "its",
    "hence": "so",
    "whilst": "while",
    "utilize": "use",
    "leverage": "use",
    "seamless": "nothing",
    "simply": "nothing",
    "one that": "the noun",
    "in order to": "to",
    "is able to": "can",
    "a number of": "some, or the number",
    "due to the fact": "because",
    "last words": "last log entries",
    "look for": "poll, or search",
    "behavior": "behaviour",
    "color": "colour",
    "license": "licence",
    "recognize": "recognise",
    "serialize": "serialise",
}


def sentences(paths: list[Path], read: Callable[[Path], Iterator[tuple[int, str]]]) -> list[tuple[str, str]]:
    return [(f"{path.relative_to(ROOT)}:{line}", text) for path in paths for line, text in read(path)]


EVERY = [
    pytest.param(sentences(PAGES, markdown_sentences), id="pages"),
    pytest.param(sentences(MODULES, code_sentences), id="code"),
]


@pytest.mark.parametrize("read", EVERY)
def test_sentences_are_short(read: list[tuple[str, str]]) -> None:
    lengths = [len(text.split()) for _, text in read]
    assert median(lengths) < 16
    assert [f"{where}: {text}" for where, text in read if len(text.split()) > 30] == []


@pytest.mark.parametrize("read", EVERY)
def test_words_are_plain(read: list[tuple[str, str]]) -> None:
    avoided = re.compile(rf"\b({'|'.join(AVOIDED)})\b", re.IGNORECASE)
    found = [
        (where, word, f"write {AVOIDED[word.lower()]}", text) for where, text in read for word in avoided.findall(text)
    ]
    assert found == []
