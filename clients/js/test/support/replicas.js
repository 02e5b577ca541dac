// Real replicas for tests: the built program on an embedded PostgreSQL that they share, on free ports, in a temporary
// directory.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './wait.js';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const PROGRAM = process.env.PGCHAT_BIN ?? path.join(ROOT, 'target/debug/pgchat');
const START_DEADLINE_MS = 240_000;

export const AMELIE = '11111111-1111-4111-8111-111111111111';
export const LUKASZ = '22222222-2222-4222-8222-222222222222';
export const ZEYNEP = '33333333-3333-4333-8333-333333333333';

/** Replicas of one fresh database with the demo data; `close()` ends them all. */
export async function cluster(settings = {}) {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: run "cargo build" first, or set PGCHAT_BIN`);
  const dir = await mkdtemp(path.join(os.tmpdir(), 'pgchat-js-'));
  await chmod(dir, 0o755); // as root, PostgreSQL runs as another account
  const replicas = [];
  const database = psql(dir);
  return {
    dir,
    /** Runs SQL as another program would, in one transaction. */
    sql: database.run,
    async start(more = {}) {
      const replica = await startReplica(dir, { ...settings, ...more });
      replicas.push(replica);
      return replica;
    },
    async close() {
      await database.end();
      await Promise.all(replicas.map((replica) => replica.terminate()));
      // The last replica's end is the database's; its files go once it has written the last of them.
      await rm(dir, { recursive: true, force: true, maxRetries: 50, retryDelay: 200 });
    },
  };
}

/** What tells where an answer of psql ends. */
const ANSWERED = '--- answered ---\n';

/**
 * One psql for all that is asked: to start one takes longer than most answers. Each text is a transaction of its own, as
 * with `psql -c`. One that fails ends it, and the next has another.
 */
function psql(dir) {
  let child;
  let before = Promise.resolve();
  async function start() {
    // The file with the database's URL is the one that the start of pgchat prints.
    const url = await readFile(path.join(dir, 'data/url'), 'utf8');
    const program = process.env.PG_BIN_DIR ? path.join(process.env.PG_BIN_DIR, 'psql') : 'psql';
    child = spawn(program, ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', url.trim()], { stdio: ['pipe', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8');
    child.stdin.on('error', () => {}); // it has ended, which is told below
    child.gone = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
    child.gone.then(() => (child = undefined));
  }
  async function run(text) {
    if (!child) await start();
    const { stdin, stdout, stderr, gone } = child;
    let [told, faults] = ['', ''];
    const answered = new Promise((resolve) => stdout.on('data', (chunk) => (told += chunk).endsWith(ANSWERED) && resolve(true)));
    stderr.on('data', (chunk) => (faults += chunk));
    const several = /;\s*\S/.test(text); // one alone is a transaction by itself, and may be one that can be in none
    stdin.write(`${several ? `begin;\n${text}\n;\ncommit` : text}\n;\n\\echo ${ANSWERED}`);
    const isAnswered = await Promise.race([answered, gone.then(() => false)]);
    for (const stream of [stdout, stderr]) stream.removeAllListeners('data');
    if (!isAnswered) throw new Error(`psql: ${faults}\n${text}`);
    return told.slice(0, -ANSWERED.length).trim();
  }
  return {
    /** One after the other. */
    run(text) {
      const ran = before.then(() => run(text));
      before = ran.catch(() => {});
      return ran;
    },
    async end() {
      const gone = child?.gone;
      child?.stdin.end();
      await gone;
    },
  };
}

/**
 * The replica has connections to the database, as many as a page needs at once. The service gives each 5 s to be made, which
 * is too little now and then on a busy machine, and answers 503; no page is to meet that.
 */
async function connected(url) {
  const ask = async () => (await fetch(`${url}/api/v1/users/?limit=1`)).status;
  await eventually(() => Promise.all([ask(), ask(), ask(), ask()]), (statuses) => statuses.every((status) => status < 500));
}

async function startReplica(dir, settings) {
  const { PATH, HOME, TMPDIR, PG_BIN_DIR } = process.env;
  // On a busy machine the first connections to the database take long; that they do is no test's question.
  const patience = { DB_TIMEOUT_SECONDS: '60', DB_CONNECT_TIMEOUT_SECONDS: '120' };
  const env = { PATH, HOME, TMPDIR, PG_BIN_DIR, EMBEDDED_DATA_DIR: path.join(dir, 'data'), SERVER_PORT: '0', SHUTDOWN_GRACE_SECONDS: '5', ...patience, ...settings };
  for (const name of Object.keys(env)) if (env[name] === undefined) delete env[name];
  const child = spawn(PROGRAM, ['serve'], { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const port = await new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error(`no start in time:\n${log}`)), START_DEADLINE_MS);
    const read = (chunk) => {
      log += chunk;
      const found = /listening on http:\/\/[^\s]*:(\d+)/.exec(log);
      if (found) {
        clearTimeout(deadline);
        resolve(Number(found[1]));
      }
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', (code) => {
      clearTimeout(deadline);
      reject(new Error(`pgchat ended with ${code}:\n${log}`));
    });
  });
  const url = `http://127.0.0.1:${port}`;
  await connected(url).catch((error) => {
    child.kill('SIGKILL');
    throw new Error(`${error.message}\n${log}`);
  });
  return {
    port,
    url,
    get log() { return log; },
    /** SIGKILL: as a machine that is gone. */
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    /** SIGTERM: a drain. */
    async terminate() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/**
 * A load balancer over TCP: a new connection goes to the first replica of the list that takes it. `ports` may change;
 * `rotate` lets each WebSocket begin with the next one; `cut()` resets what is open; `refuse` answers nobody.
 */
export async function balancer(ports) {
  const open = new Set();
  const state = { ports, refuse: false, rotate: false };
  const reach = (client, [port, ...rest]) => {
    if (!port) return client.destroy();
    const upstream = net.connect(port, '127.0.0.1');
    let connected = false;
    upstream.once('connect', () => {
      connected = true;
      client.pipe(upstream).pipe(client);
    });
    upstream.on('error', () => {});
    upstream.once('close', () => (connected ? client.destroy() : reach(client, rest)));
    client.once('close', () => upstream.destroy());
  };
  const server = net.createServer((client) => {
    open.add(client);
    client.on('error', () => {});
    client.on('close', () => open.delete(client));
    if (state.refuse) return client.destroy();
    client.once('readable', () => {
      const asked = client.read();
      if (!asked || state.refuse) return client.destroy();
      client.unshift(asked);
      const { ports: now } = state;
      if (state.rotate && asked.toString('latin1').startsWith('GET /ws?')) state.ports = [...now.slice(1), now[0]];
      reach(client, now);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(state, {
    url: `http://127.0.0.1:${server.address().port}`,
    cut: () => open.forEach((socket) => socket.destroy()),
    async close() {
      state.cut();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}
