"""Moves a server further away."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

READ_SIZE: Final = 1 << 16


@contextmanager
def at_distance(url: str, latency: float) -> Iterator[str]:
    """Yield a URL at which a server is reached while the block runs, with a delay for each request.

    All that arrives is forwarded half of the latency later, in both directions. So requests on several connections do
    not wait for each other.

    Args:
        url: The server.
        latency: Seconds that each request takes longer.
    """
    loop = asyncio.new_event_loop()
    with closing(loop):
        relay = _Relay(urlsplit(url).hostname or "", urlsplit(url).port or 80, latency / 2)
        server = loop.run_until_complete(asyncio.start_server(relay.connect, "127.0.0.1", 0))
        thread = Thread(target=loop.run_forever, name="distance", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            asyncio.run_coroutine_threadsafe(_end(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


class _Relay:
    def __init__(self, host: str, port: int, delay: float) -> None:
        self._host = host
        self._port = port
        self._delay = delay

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the bytes of one connection."""
        there, back = await asyncio.open_connection(self._host, self._port)
        with suppress(ConnectionError):
            await asyncio.gather(self._forward(reader, back), self._forward(there, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, under_way = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()
        delivery = asyncio.create_task(_deliver(under_way, writer))
        while data := await reader.read(READ_SIZE):
            under_way.put_nowait((loop.time() + self._delay, data))
        under_way.put_nowait((loop.time() + self._delay, b""))
        await delivery


async def _deliver(under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if not data:
                return
            writer.write(data)
            await writer.drain()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
