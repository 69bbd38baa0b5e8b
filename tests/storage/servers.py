"""A store at any URL, and servers that misbehave below HTTP."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from threading import Event, Thread

from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes.local import storage_client


@contextmanager
def store_at(url: str, bucket: str = "some-bucket") -> Iterator[ObjectStore]:
    with closing(storage_client(url)) as client:
        yield ObjectStore(bucket, client)


@contextmanager
def full_listener() -> Iterator[str]:
    """Yield the URL of a port on which no connection can be established: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def trickling_server(head: bytes) -> Iterator[str]:
    """Yield the URL of a server that answers with some bytes, and then with one more each 0.1 s."""
    stopped = Event()

    def trickle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while not stopped.wait(0.1):
                connection.sendall(b"x")

    with _accepting(trickle) as url:
        yield url
        stopped.set()


@contextmanager
def answering(response: bytes) -> Iterator[str]:
    """Yield the URL of a server that answers each request with some bytes, and closes the connection."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(response)

    with _accepting(answer) as url:
        yield url


@contextmanager
def _accepting(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    connection, _ = listener.accept()
                    Thread(target=serve, args=(connection,), daemon=True).start()

        thread = Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
