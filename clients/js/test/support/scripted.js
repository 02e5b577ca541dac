// A WebSocket server that does what a replica cannot be made to do at will. It speaks the real protocol over real
// sockets; what it says is the test's.
import http from 'node:http';
import { WebSocketServer } from 'ws';

export async function scripted() {
  const server = http.createServer((request, response) => {
    state.requests.push({ method: request.method, url: request.url, authorization: request.headers.authorization });
    const { status = 200, body = {}, headers = {} } = state.answer?.(request) ?? {};
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  const sockets = new WebSocketServer({ noServer: true });
  const waiting = [];
  const state = {
    /** Of HTTP requests. */
    requests: [],
    answer: undefined,
    /** Handshakes: `{url, protocols}`. */
    handshakes: [],
    /** Refuses handshakes with this status. */
    refuse: undefined,
    all: [],
  };
  server.on('upgrade', (request, socket, head) => {
    state.handshakes.push({ url: new URL(request.url, 'http://x'), protocols: request.headers['sec-websocket-protocol'] });
    if (state.refuse) return socket.end(`HTTP/1.1 ${state.refuse} Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
    sockets.handleUpgrade(request, socket, head, (ws) => {
      const connection = wrap(ws);
      state.all.push(connection);
      const waiter = waiting.shift();
      if (waiter) waiter(connection);
      else state.unclaimed.push(connection);
    });
  });
  state.unclaimed = [];
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(state, {
    url: `http://127.0.0.1:${server.address().port}`,
    /** The next connection. */
    connection: () => (state.unclaimed.length ? Promise.resolve(state.unclaimed.shift()) : new Promise((resolve) => waiting.push(resolve))),
    async close() {
      for (const { ws } of state.all) ws.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

function wrap(ws) {
  const inbox = [];
  const readers = [];
  ws.on('message', (text) => {
    const frame = JSON.parse(text);
    if (frame.type === 'ping') return connection.answersPings && send('ack', { requestId: frame.requestId });
    const reader = readers.shift();
    if (reader) reader(frame);
    else inbox.push(frame);
  });
  const send = (type, data, cursor) => ws.send(JSON.stringify({ type, data, userId: 'u1', timestamp: 1, ...(cursor && { cursor }) }));
  const connection = {
    ws,
    inbox,
    send,
    answersPings: true,
    /** The first frame of every socket. */
    greet: (more) => send('connected', { connectionId: 'c', replicaId: 'r', heartbeatSeconds: 25, cursor: 'start', resumed: false, ...more }),
    /** The client's next frame, pings apart. */
    read: () => (inbox.length ? Promise.resolve(inbox.shift()) : new Promise((resolve) => readers.push(resolve))),
    /** All that the client has sent until now has come: a pong overtakes nothing. */
    caughtUp: () => new Promise((resolve) => {
      ws.once('pong', resolve);
      ws.ping();
    }),
    close: (code, reason) => ws.close(code, reason),
  };
  return connection;
}
