// A proxy that answers some requests to the emulator in its own way, by a plan, and counts the faults that were met.
import { once } from "node:events";
import http from "node:http";

/**
 * Start a proxy.
 *
 * `plan(request)` returns what becomes of a request: undefined passes it; a number is a status in its place; "reset"
 * closes the connection before, and "lose" after the emulator has served it; "stall" never answers.
 */
export async function startProxy(target) {
  const proxy = { plan: () => undefined, faults: 0, requests: [] };
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const { method, url } = request;
    proxy.requests.push({ method, url });
    const fault = proxy.plan({ method, url: decodeURIComponent(url), number: proxy.requests.length });
    if (fault !== undefined) proxy.faults++;
    if (fault === "stall") return;
    if (fault === "reset") return request.socket.destroy();
    if (typeof fault === "number") {
      response.writeHead(fault, { "Content-Type": "application/json" });
      return response.end(JSON.stringify({ error: { message: `planned ${fault}` } }));
    }
    const answer = await forward(target, request, Buffer.concat(parts));
    if (fault === "lose") return request.socket.destroy();
    response.writeHead(answer.status, answer.headers);
    response.end(answer.body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  proxy.stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return proxy;
}

function forward(target, { method, url, headers }, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(target + url, { method, headers, agent: false }, async (response) => {
      const parts = [];
      for await (const part of response) parts.push(part);
      const { "transfer-encoding": _chunked, connection: _connection, ...rest } = response.headers;
      resolve({ status: response.statusCode, headers: rest, body: Buffer.concat(parts) });
    });
    request.on("error", reject);
    request.end(body);
  });
}
