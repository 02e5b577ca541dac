// A reverse proxy before a replica that nobody has told to pass Upgrade. It may serve it below a path, which it takes off.
import http from 'node:http';

export async function proxy(port, below = '') {
  const server = http.createServer((request, response) => {
    const { method, url, headers: { upgrade, ...headers } } = request;
    if (!url.startsWith(`${below}/`)) return response.writeHead(404).end();
    const passed = http.request({ host: '127.0.0.1', port, method, path: url.slice(below.length), headers: { ...headers, connection: 'close' } }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    request.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}${below}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
