"""Forwarding of output, with the test's own streams."""

import contextvars
import io
from threading import Thread

import pytest
from dagster_pipes import DagsterPipesError
from gcf_pipes._stdio import MAX_PARTIAL_LINE, MAX_TEXT, ForwardedOutput, forward_streams, not_forwarded

LABELS = {"execution_id": "mine", "dagster_run_id": "my-run"}


class Session:
    """Records the forwarded output of one session."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.output = ForwardedOutput(self.send, LABELS)

    def send(self, stream: str, text: str) -> None:
        self.sent.append((stream, text))


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    forward_streams(stdout=[stream])
    return stream


@pytest.fixture
def session() -> Session:
    return Session()


def test_only_output_of_the_block_is_forwarded(stream: io.StringIO, session: Session) -> None:
    print("before", file=stream)
    with session.output:
        print("inside", file=stream)
    print("after", file=stream)
    assert session.sent == [("stdout", "inside\n")]
    assert stream.getvalue() == "before\ninside\nafter\n"


def test_a_stream_gets_its_write_once(stream: io.StringIO, session: Session) -> None:
    forward_streams(stdout=[stream, None], stderr=[stream])
    with session.output:
        assert stream.write("inside\n") == len("inside\n")
    assert session.sent == [("stdout", "inside\n")]
    assert stream.getvalue() == "inside\n"


def test_a_stream_that_writes_to_another_forwards_once(session: Session) -> None:
    class Outer(io.StringIO):
        def write(self, text: str) -> int:
            return inner.write(f"[{text}]")

    inner, outer = io.StringIO(), Outer()
    forward_streams(stdout=[outer], stderr=[inner])
    with session.output:
        outer.write("line\n")
        inner.write("error\n")
    assert session.sent == [("stdout", "line\n"), ("stderr", "error\n")]
    assert inner.getvalue() == "[line\n]error\n"


def test_a_line_waits_for_its_end_unless_it_is_long(stream: io.StringIO, session: Session) -> None:
    with session.output:
        stream.write("a")
        assert stream.getvalue() == ""
        stream.write("b\nc")
        assert stream.getvalue() == "ab\n"
        stream.write("d" * MAX_PARTIAL_LINE)
        assert stream.getvalue() == "ab\nc" + "d" * MAX_PARTIAL_LINE
        stream.write("e")
    assert [text for _, text in session.sent] == ["ab\n", "c" + "d" * MAX_PARTIAL_LINE, "e"]
    assert stream.getvalue().endswith("de")


def test_threads_in_copies_of_the_context_have_their_own_lines(stream: io.StringIO, session: Session) -> None:
    with session.output:
        stream.write("main ")
        for run in (contextvars.copy_context().run, lambda function: function()):
            thread = Thread(target=run, args=(lambda: stream.write("thread\n"),))
            thread.start()
            thread.join()
        stream.write("line\n")
    assert session.sent == [("stdout", "thread\n"), ("stdout", "main line\n")]
    assert stream.getvalue() == "thread\nthread\nmain line\n"


def test_a_copy_of_the_context_does_not_forward_after_the_block(stream: io.StringIO, session: Session) -> None:
    with session.output:
        context = contextvars.copy_context()
        context.run(stream.write, "in time\n")
    context.run(stream.write, "too ")
    context.run(stream.write, "late\n")
    assert session.sent == [("stdout", "in time\n")]
    assert stream.getvalue() == "in time\ntoo late\n"


def test_output_of_sending_is_not_forwarded(stream: io.StringIO) -> None:
    sent = []

    def send(_: str, text: str) -> None:
        print("sending", file=stream)
        sent.append(text)

    with ForwardedOutput(send, {}):
        print("line", file=stream)
    assert sent == ["line\n"]
    assert stream.getvalue() == "line\nsending\n"


def test_print_does_not_raise_an_error_of_sending(stream: io.StringIO) -> None:
    def send(_: str, text: str) -> None:
        raise DagsterPipesError(text)

    with ForwardedOutput(send, {}):
        print("line", file=stream)
        stream.write("rest")
    assert stream.getvalue() == "line\nrest"


def test_an_error_of_the_stream_itself_is_raised(stream: io.StringIO, session: Session) -> None:
    with session.output:
        with pytest.raises(TypeError):
            stream.write(5)  # type: ignore[arg-type] # it is what the test is about
        stream.close()
        with pytest.raises(ValueError, match="closed file"):
            stream.write("line\n")
    assert session.sent == []


def test_a_block_can_leave_output_out(stream: io.StringIO, session: Session) -> None:
    with session.output:
        with not_forwarded():
            print("left out", file=stream)
        print("line", file=stream)
    assert session.sent == [("stdout", "line\n")]


def test_the_traceback_comes_last(stream: io.StringIO, session: Session) -> None:
    def print_and_raise() -> None:
        with session.output:
            stream.write("rest")
            raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        print_and_raise()
    assert session.sent[0] == ("stdout", "rest")
    ((name, text),) = session.sent[1:]
    assert name == "stderr"
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_long_text_is_sent_in_parts(stream: io.StringIO, session: Session) -> None:
    text = "x" * (2 * MAX_TEXT) + "\n"
    with session.output:
        stream.write(text)
    assert [len(part) for _, part in session.sent] == [MAX_TEXT, MAX_TEXT, 1]
    assert stream.getvalue() == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"message": "mine", "logging.googleapis.com/labels": {"execution_id": "mine"}}', "mine"),
        ('{"message": "two\\nlines", "logging.googleapis.com/labels": {"dagster_run_id": "my-run"}}', "two\nlines"),
        *(
            (line, line)
            for line in (
                '{"message": "not mine", "logging.googleapis.com/labels": {"execution_id": "yours"}}',
                '{"message": "no labels"}',
                '{"logging.googleapis.com/labels": {"execution_id": "mine"}}',
                '{"message": "odd", "logging.googleapis.com/labels": ["mine"]}',
                '{"message": "odd", "logging.googleapis.com/labels": {"execution_id": []}}',
                "{}",
                "{not json",
                '{"a":' * 100_000,
                "[1]",
                "",
            )
        ),
    ],
)
def test_a_line_structured_for_this_request_is_forwarded_as_its_message(
    stream: io.StringIO, session: Session, line: str, text: str
) -> None:
    with session.output:
        print(line, file=stream)
    assert "".join(part for _, part in session.sent) == f"{text}\n"
    assert stream.getvalue() == f"{line}\n"
