// The application beside pgchat, as its README starts them, and two of its users in a real Chromium.
//
// Run by scripts/test-example.sh.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { balancer as startBalancer } from '../../../clients/js/test/support/replicas.js';
import { balancer, cluster, CUT, eventually, launch, leave, quit, visit } from '../../../tests/browser/support.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SECRET = 'a secret of the example, 32 bytes or more';
const SERVICE_TOKEN = 'a-service-token-of-the-example-of-32-bytes-or-more';
const ROLE_PASSWORD = 'of-the-roles-of-the-example';
const ROLES = fileURLToPath(new URL('../../../sql/roles.sql', import.meta.url));
const PROGRAM = process.env.PGCHAT_BIN ?? fileURLToPath(new URL('../../../target/debug/pgchat', import.meta.url));
const START_DEADLINE_MS = 240_000;

const run = promisify(execFile);

let embedded; // only for its PostgreSQL
let replicas;
let front; // the address of pgchat that the application is given: each of the two must know the other's before it starts
let app;
let database;
let environment;

before(async () => {
  embedded = await cluster();
  await embedded.start();
  await embedded.sql('create database flats');
  const url = new URL((await readFile(path.join(embedded.dir, 'data/url'), 'utf8')).trim());
  url.pathname = '/flats';
  database = url.href;
  environment = { PATH: process.env.PATH, HOME: process.env.HOME, DATABASE_URL: database, JWT_SECRET: SECRET, PGCHAT_SERVICE_TOKEN: SERVICE_TOKEN, PORT: '0' };
  await run('npm', ['run', 'migrate'], { cwd: ROOT, env: environment });
  await run('npm', ['run', 'seed'], { cwd: ROOT, env: environment });

  // pgchat's own roles, as sql/roles.sql says: one migrates, the replica is the other and owns nothing.
  const as = async (role) => {
    await psql(`alter role ${role} password '${ROLE_PASSWORD}'`);
    return Object.assign(new URL(database), { username: role, password: ROLE_PASSWORD }).href;
  };
  await roles();
  await run(PROGRAM, ['migrate'], { cwd: embedded.dir, env: { PATH: process.env.PATH, DATABASE_URL: await as('flats_owner') } });
  await roles();
  front = await startBalancer([]);
  app = await start({ ...environment, PGCHAT_URL: front.url });
  replicas = await cluster({ DATABASE_URL: await as('flats_service'), JWT_SECRET: SECRET, SERVICE_TOKENS: SERVICE_TOKEN, SERVER_HOST: '127.0.0.1', REPLAY_EVENTS: '20', ALLOWED_ORIGINS: new URL(app.page).origin });
  app.pgchatPort = (await replicas.start()).port;
  front.ports = [app.pgchatPort];
  app.pgchat = front.url;
  await launch();
});
afterEach(leave);
after(async () => {
  await quit();
  await app?.stop();
  await replicas?.close();
  await front?.close();
  await embedded?.close();
});

async function start(env) {
  const child = spawn(process.execPath, ['dist/main.js'], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let log = '';
  const port = await new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error(`no start in time:\n${log}`)), START_DEADLINE_MS);
    const read = (chunk) => {
      log += chunk;
      const found = /listening on http:\/\/[^\s]*:(\d+)\s/.exec(log);
      if (!found) return;
      clearTimeout(deadline);
      resolve(found[1]);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', (code) => reject(new Error(`the application ended with ${code}:\n${log}`)));
  });
  return {
    page: `http://localhost:${port}/`,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function logIn(email, { also = [], ...more } = {}) {
  const page = await visit(app.page, { also: [app.pgchat, ...also], ...more });
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password').fill('correct horse');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('online').waitFor();
  return page;
}

const messages = (page) => page.getByRole('list', { name: 'Messages' }).getByRole('listitem').allTextContents();

async function call(pathname, body, token, page = app.page) {
  const response = await fetch(page + pathname, {
    method: 'POST', headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }, body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}
const seconds = () => Math.floor(Date.now() / 1000);
/** A token as the application makes them. */
function signed(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ iat: seconds() - 60, ...claims })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}
const tokenOf = async (email) => (await call('auth/login', { email, password: 'correct horse' })).body.accessToken;

test('two users of the application chat on its page, and what its server sends by HTTP and by SQL arrives live', async () => {
  const ben = await logIn('ben@example.com');
  const ana = await logIn('ana@example.com');

  // Over HTTP with the service token, in Ana's name.
  await ana.getByRole('button', { name: 'Enquire' }).click();
  await ana.getByText('Ana: I am interested in Harbour Street 12.').waitFor();
  await ben.getByRole('button', { name: 'Ana Novak' }).click();
  await ben.getByText('Ana: I am interested in Harbour Street 12.').waitFor();

  // Over their sockets.
  await ben.getByLabel('Message', { exact: true }).fill('It has a <balcony>.');
  await ben.getByRole('button', { name: 'Send' }).click();
  await ana.getByText('Ben: It has a <balcony>.').waitFor();
  await ana.getByLabel('Message', { exact: true }).fill('May I see it?');
  await ana.getByRole('button', { name: 'Send' }).click();
  await ben.getByText('Ana: May I see it?').waitFor();

  // With SQL, in one transaction with the application's own row.
  await ben.getByLabel('Viewing', { exact: true }).fill('2027-01-04T10:30');
  await ben.getByRole('button', { name: 'Offer' }).click();
  await ana.getByText(/^Ben: You can see it on 2027-01-0\d at/).waitFor();

  assert.equal((await messages(ana)).length, 4);
  await ben.getByText(/^Ben: You can see it/).waitFor();
  assert.deepEqual(await messages(ben), await messages(ana));
});

test('on a phone each button shows all that it says, and nothing is wider than its card', async () => {
  const { conversationId } = (await call('enquiries', { brokerId: await broker(), flat: 'Narrow Street 1', key: 'narrow' }, await tokenOf('cleo@example.com'))).body;
  await insert(conversationId, 'On the telephone', 1);
  const ben = await logIn('ben@example.com', { viewport: { width: 360, height: 740 } });
  await ben.getByRole('button', { name: 'Cleo' }).click();
  await ben.getByText('On the telephone 1').waitFor();
  await ben.getByRole('button', { name: 'Offer' }).waitFor();
  const cut = await ben.evaluate(() => {
    const { right } = document.body.getBoundingClientRect();
    return [...document.querySelectorAll('button, input')]
      .filter((it) => it.offsetParent && (it.getBoundingClientRect().right > right || (it.localName === 'button' && it.scrollWidth > it.clientWidth)))
      .map((it) => it.textContent || it.name);
  });
  assert.deepEqual(cut, []);
});

test('what arrives while the page reads the history stands behind it', async () => {
  const { conversationId } = (await call('enquiries', { brokerId: await broker(), flat: 'Mill Lane 7', key: 'seven' }, await tokenOf('cleo@example.com'))).body;
  // pgchat answers at once; the page gets it when the test says so.
  const cleo = await logIn('cleo@example.com', {
    before: () => {
      const real = window.fetch;
      window.held = [];
      window.fetch = async (...asked) => {
        const response = await real(...asked);
        if (String(asked[0]).includes('/messages')) await new Promise((resolve) => window.held.push(resolve));
        return response;
      };
    },
  });
  await cleo.getByRole('button', { name: 'Ben' }).click();
  await cleo.waitForFunction(() => window.held.length > 0);
  await insert(conversationId, 'Live, before the history', 1);
  await cleo.getByText('Live, before the history 1').waitFor();
  await cleo.evaluate(() => window.held.forEach((go) => go()));
  await cleo.getByText('Mill Lane 7').waitFor();
  assert.match((await messages(cleo)).at(-1), /Live, before the history 1$/);
});

/** Her page, whose socket can be cut off. `forgive`: what its console may complain about. */
async function cleoBehindAFront(forgive) {
  const front = await balancer([app.pgchatPort]);
  const content = `window.WebSocket = class extends WebSocket {
    constructor(url, protocols) { super(url.replace('${app.pgchat.slice(5)}', '${front.url.slice(5)}'), protocols); }
  };`;
  return { front, cleo: await logIn('cleo@example.com', { also: [front.url], forgive, before: { content } }) };
}

test('where more was missed than is sent again, what was deleted outright meanwhile goes', async () => {
  const { conversationId } = (await call('enquiries', { brokerId: await broker(), flat: 'Mill Lane 8', key: 'eight' }, await tokenOf('cleo@example.com'))).body;
  const { front, cleo } = await cleoBehindAFront(CUT);
  await cleo.getByRole('button', { name: 'Ben' }).click();
  await cleo.getByText('Mill Lane 8').waitFor();
  front.refuse = true;
  front.cut();
  await cleo.getByText('waiting').waitFor();
  await psql(`delete from messages where conversation_id = '${conversationId}' and content like '%Mill Lane 8%'`);
  await insert(conversationId, 'missed', 30);
  front.refuse = false;
  await cleo.getByText('missed 30').waitFor();
  await cleo.getByText('Mill Lane 8').waitFor({ state: 'detached' });
  assert.equal((await messages(cleo)).filter((text) => text.includes('missed')).length, 30);
});

test('an enquiry that is sent twice arrives once, and one of a stranger does not arrive', async () => {
  const cleo = await tokenOf('cleo@example.com');
  const { body: brokers } = await fetch(`${app.page}brokers`).then(async (response) => ({ body: await response.json() }));
  const enquiry = { brokerId: brokers[0].id, flat: 'Mill Lane 3', key: 'once' };
  const first = await call('enquiries', enquiry, cleo);
  assert.equal(first.status, 201);
  assert.deepEqual(await call('enquiries', enquiry, cleo), first);

  assert.equal((await call('enquiries', enquiry)).status, 401);
  const other = { ...enquiry, flat: 'Mill Lane 4' };
  // The same key for something else: pgchat's answer is passed on.
  const conflict = await call('enquiries', other, cleo);
  assert.equal(conflict.status, 409);
  assert.equal(conflict.body.statusCode, 409);
});

test('an enquiry whose answer is lost is stored once, though one clicks again', async () => {
  const cleo = await logIn('cleo@example.com', { forgive: CUT });
  let sent = 0;
  await cleo.route('**/enquiries', async (route) => {
    const response = await route.fetch();
    if (++sent === 1) await route.abort('connectionreset');
    else await route.fulfill({ response });
  });
  const enquire = async (flat) => {
    await cleo.getByLabel('Flat').fill(flat);
    await cleo.getByRole('button', { name: 'Enquire' }).click();
  };
  await enquire('Mill Lane 11');
  await cleo.getByText(/fetch/).waitFor();
  await enquire('Mill Lane 11');
  await cleo.getByText('Cleo: I am interested in Mill Lane 11.').waitFor();
  const stored = () => psql("select count(*) from messages where content like '%Mill Lane 11.'");
  assert.equal(await stored(), '1');
  // What arrived can be asked once more.
  await enquire('Mill Lane 11');
  await cleo.getByText('Cleo: I am interested in Mill Lane 11.').nth(1).waitFor();
  assert.equal(await stored(), '2');
});

/** Ben, who is a broker, and a conversation of his with Cleo. */
async function benAndCleo(flat, key) {
  const { conversationId } = (await call('enquiries', { brokerId: await broker(), flat, key }, await tokenOf('cleo@example.com'))).body;
  return { conversationId, ben: await tokenOf('ben@example.com') };
}

test('a viewing that is offered twice is stored once and sent once, with one answer, also where both come at once', async () => {
  const { conversationId, ben } = await benAndCleo('Mill Lane 15', 'fifteen');
  const before = await stored();
  const offer = { conversationId, at: '2027-01-05T10:30:00Z', key: 'once' };
  const [first, ...others] = await Promise.all(Array.from({ length: 5 }, () => call('viewings', offer, ben)));
  assert.equal(first.status, 201, JSON.stringify(first.body));
  for (const other of [...others, await call('viewings', { ...offer, conversationId: conversationId.toUpperCase() }, ben)]) assert.deepEqual(other, first);
  const after = await stored();
  assert.deepEqual([after.viewings - before.viewings, after.messages - before.messages], [1, 1]);
  const tied = await psql(`select m.id, v.id from messages m join viewings v on v."brokerId" = m.sender_id and m.client_message_id = 'viewing:' || v.key where v.key = 'once'`);
  assert.equal(tied, `${first.body.messageId}|${first.body.viewingId}`);
});

test('a key stands for one viewing: for another time it is a conflict, as is that of another message; one that no message can have is refused', async () => {
  const { conversationId, ben } = await benAndCleo('Mill Lane 16', 'sixteen');
  const offer = { conversationId, at: '2027-01-06T10:30:00Z', key: 'k'.repeat(56) };
  assert.equal((await call('viewings', offer, ben)).status, 201);
  await psql(`insert into messages (conversation_id, sender_id, content, client_message_id) select id, participant2_id, 'His own', 'viewing:taken' from conversations where id = '${conversationId}'`);
  const before = await count();
  for (const [change, status] of [
    [{ at: '2027-01-07T10:30:00Z' }, 409], [{ key: 'taken' }, 409],
    [{ key: 'k'.repeat(57) }, 400], [{ key: 'two words' }, 400], [{ key: '' }, 400], [{ key: '\u0000' }, 400], [{ key: 7 }, 400], [{ key: undefined }, 400],
  ]) assert.equal((await call('viewings', { ...offer, ...change }, ben)).status, status, JSON.stringify(change));
  assert.equal(await count(), before);
});

test('a viewing whose answer is lost is offered once, though one clicks again; then another one can be', async () => {
  await benAndCleo('Mill Lane 17', 'seventeen');
  const ben = await logIn('ben@example.com', { forgive: CUT });
  let sent = 0;
  await ben.route('**/viewings', async (route) => {
    const response = await route.fetch();
    if (++sent === 1) await route.abort('connectionreset');
    else await route.fulfill({ response });
  });
  const answered = () => ben.waitForResponse(/\/viewings$/);
  const offer = () => ben.getByRole('button', { name: 'Offer' }).click();
  await ben.getByRole('button', { name: 'Cleo' }).click();
  await ben.getByLabel('Viewing', { exact: true }).fill('2027-02-03T10:30');
  const times = () => psql(`select count(*) from viewings where at >= '2027-02-01' and at < '2027-02-10'`);
  await offer();
  await ben.getByText(/fetch/).waitFor();
  const again = async () => {
    await Promise.all([answered(), offer()]);
    return times();
  };
  assert.equal(await again(), '1');
  // Once the page has seen that answer.
  await eventually(again, '2');
});

test('what stands before pgchat and answers in its place is no fault of this application', async () => {
  const brokerId = await broker();
  let status = 502;
  const proxy = createServer((_, response) => response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>'));
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const other = await start({ ...environment, PGCHAT_URL: `http://127.0.0.1:${proxy.address().port}` });
  try {
    for (status of [502, 200, 404]) {
      const answer = await call('enquiries', { brokerId, flat: 'Mill Lane 18', key: 'eighteen' }, await tokenOf('cleo@example.com'), other.page);
      assert.deepEqual([answer.status, answer.body.message], [502, `what answered is not the chat (status ${status})`]);
    }
  } finally {
    await other.stop();
    proxy.close();
  }
});

test('what pgchat has no time for is repeated when it asks, three times at most', async () => {
  const brokerId = await broker();
  let refusals;
  let asked = 0;
  const busy = createServer((request, response) => {
    asked++;
    if (refusals-- > 0) return response.writeHead(503, { 'content-type': 'application/json', 'retry-after': '0' }).end('{"statusCode": 503, "message": "busy"}');
    response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify({ id: request.url.endsWith('messages') ? 'm1' : 'c1' }));
  });
  await new Promise((resolve) => busy.listen(0, '127.0.0.1', resolve));
  const other = await start({ ...environment, PGCHAT_URL: `http://127.0.0.1:${busy.address().port}` });
  try {
    const enquire = async () => call('enquiries', { brokerId, flat: 'Mill Lane 19', key: 'nineteen' }, await tokenOf('cleo@example.com'), other.page);
    refusals = 2;
    assert.deepEqual((await enquire()).body, { conversationId: 'c1', messageId: 'm1' });
    assert.equal(asked, 4, 'the conversation at the third try, the message at the first');
    refusals = Infinity;
    const answer = await enquire();
    assert.deepEqual([answer.status, answer.body.message, asked], [503, 'busy', 7]);
  } finally {
    await other.stop();
    busy.close();
  }
});

test('that pgchat does not accept the application is no fault of its user', async () => {
  const brokerId = await broker();
  const other = await start({ ...environment, PGCHAT_URL: front.url, PGCHAT_SERVICE_TOKEN: 'another-token-than-pgchat-has-of-32-bytes-or-more' });
  try {
    const answer = await call('enquiries', { brokerId, flat: 'Mill Lane 13', key: 'thirteen' }, await tokenOf('cleo@example.com'), other.page);
    assert.deepEqual([answer.status, answer.body.message], [502, 'the chat does not accept this application']);
  } finally {
    await other.stop();
  }
});

test('a viewing in somebody else\'s conversation leaves neither a row nor a message', async () => {
  const cleo = await tokenOf('cleo@example.com');
  const { body: brokers } = await fetch(`${app.page}brokers`).then(async (response) => ({ body: await response.json() }));
  const { body } = await call('enquiries', { brokerId: brokers[0].id, flat: 'Mill Lane 5', key: 'five' }, cleo);
  const ana = await tokenOf('ana@example.com');
  const before = await count();
  const refused = await call('viewings', { conversationId: body.conversationId, at: '2027-01-04T10:30:00Z', key: 'not-hers' }, ana);
  assert.equal(refused.status, 403, JSON.stringify(refused.body));
  assert.equal(await count(), before);
});

test('a viewing that a trigger of the application refuses leaves nothing either, and says why', async () => {
  const ben = await tokenOf('ben@example.com');
  const { body } = await call('enquiries', { brokerId: await broker(), flat: 'Mill Lane 14', key: 'fourteen' }, await tokenOf('cleo@example.com'));
  await psql(`create function refuse_viewing() returns trigger language plpgsql as $$ begin
      if new.content like 'You can see it on 2027-05-01 %' then raise exception 'No viewings on a holiday.' using errcode = 'PC403'; end if;
      return new;
    end $$;
    create trigger refuse_viewing before insert on messages for each row execute function refuse_viewing()`);
  try {
    const before = await count();
    const refused = await call('viewings', { conversationId: body.conversationId, at: '2027-05-01T10:30:00Z', key: 'holiday' }, ben);
    assert.deepEqual([refused.status, refused.body.message], [403, 'No viewings on a holiday.']);
    assert.equal(await count(), before);
  } finally {
    await psql('drop function refuse_viewing cascade');
  }
});

test('the service is a role that owns nothing', async () => {
  const who = "select string_agg(distinct r.rolname || ' ' || r.rolsuper, ',') from pg_stat_activity a join pg_roles r on r.rolname = a.usename where application_name like 'pgchat%' and datname = 'flats'";
  assert.equal(await psql(who), 'flats_service false');
  assert.equal(await psql("select count(*) from pg_class where relowner = 'flats_service'::regrole"), '0');
});

const broker = async () => (await (await fetch(`${app.page}brokers`)).json())[0].id;

/** Messages `TEXT 1` to `TEXT COUNT` by another program, in the name of one of the two. */
const insert = (conversationId, text, count) => psql(`insert into messages (conversation_id, sender_id, content)
  select id, participant2_id, '${text} ' || n from conversations, generate_series(1, ${count}) n where id = '${conversationId}'`);

async function stored() {
  const [viewings, messages] = (await count()).split('|').map(Number);
  return { viewings, messages };
}

/** The rows of the application and of the chat. */
const count = () => psql('select (select count(*) from viewings), (select count(*) from messages)');

/** Runs SQL as the superuser; names of roles of this database's own, since the cluster's other database has those of the embedded service. */
async function psql(text) {
  return (await superuser('-c', text)).trim();
}
const roles = () => superuser('-v', 'owner=flats_owner', '-v', 'service=flats_service', '-v', 'integrator=flats_integrator', '-f', ROLES);

async function superuser(...args) {
  const program = process.env.PG_BIN_DIR ? path.join(process.env.PG_BIN_DIR, 'psql') : 'psql';
  const { stdout } = await run(program, ['-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', ...args, database]);
  return stdout;
}

test('who comes back when their token has expired is asked to log in again, and chats on', async () => {
  const { conversationId } = (await call('enquiries', { brokerId: await broker(), flat: 'Mill Lane 12', key: 'twelve' }, await tokenOf('cleo@example.com'))).body;
  const { sub } = JSON.parse(Buffer.from((await tokenOf('cleo@example.com')).split('.')[1], 'base64url'));
  const cleo = await visit(app.page, { also: [app.pgchat], forgive: /status of 401/ });
  // The first token is about to expire, so that the client asks for the next one; when that gets to the server it has expired.
  await cleo.route('**/auth/login', (route) => route.fulfill({ json: { accessToken: signed({ sub, exp: seconds() + 30 }) } }));
  await cleo.route('**/auth/refresh', (route) => route.continue({ headers: { ...route.request().headers(), authorization: `Bearer ${signed({ sub, exp: seconds() - 30 })}` } }));
  const logInHere = async () => {
    await cleo.getByLabel('E-mail').fill('cleo@example.com');
    await cleo.getByLabel('Password').fill('correct horse');
    await cleo.getByRole('button', { name: 'Log in' }).click();
  };
  await logInHere();
  await cleo.getByText('Please log in again.').waitFor();
  assert.equal(await cleo.locator('#inside').isVisible(), false);
  await cleo.unrouteAll();
  await logInHere();
  await cleo.locator(`[data-id="${conversationId}"]`).click();
  await cleo.getByLabel('Message', { exact: true }).fill('Back again');
  await cleo.getByRole('button', { name: 'Send' }).click();
  await cleo.getByText('Cleo: Back again').waitFor();
});

test('what is not sent stays in the field', async () => {
  const { conversationId } = (await call('enquiries', { brokerId: await broker(), flat: 'Mill Lane 9', key: 'nine' }, await tokenOf('cleo@example.com'))).body;
  const cleo = await logIn('cleo@example.com');
  await cleo.locator(`[data-id="${conversationId}"]`).click();
  const long = 'x'.repeat(70_000);
  await cleo.getByLabel('Message', { exact: true }).fill(long);
  await cleo.getByRole('button', { name: 'Send' }).click();
  await cleo.getByText(/content/).waitFor();
  assert.equal(await cleo.getByLabel('Message', { exact: true }).inputValue(), long);
});

test('a conversation that is deleted is closed, and soon a connection comes after which nobody is told of it again', async () => {
  const { conversationId } = (await call('enquiries', { brokerId: await broker(), flat: 'Mill Lane 10', key: 'ten' }, await tokenOf('cleo@example.com'))).body;
  const other = await psql("insert into conversations (participant1_id, participant2_id) select c.id, a.id from users c, users a where c.email = 'cleo@example.com' and a.email = 'ana@example.com' returning id").then((text) => text.split('\n')[0]);
  const { front, cleo } = await cleoBehindAFront(/^Failed to load resource|^WebSocket connection/);
  const shown = cleo.locator('#conversation');
  await cleo.locator(`[data-id="${conversationId}"]`).click();
  await cleo.getByText('Mill Lane 10').waitFor();
  await psql(`delete from messages where conversation_id = '${conversationId}'`);
  await psql(`delete from conversations where id = '${conversationId}'`);
  await shown.waitFor({ state: 'hidden' });
  await cleo.locator(`[data-id="${conversationId}"]`).waitFor({ state: 'detached' });

  await cleo.locator(`[data-id="${other}"]`).click();
  let times = 0;
  let read = 0;
  cleo.on('request', (request) => (read += /\/conversations(\/[^/]+)?$/.test(new URL(request.url()).pathname)));
  const back = async () => {
    await cleo.getByText('online').waitFor();
    front.refuse = true;
    front.cut();
    await cleo.getByText('waiting').waitFor();
    await insert(other, `back ${++times}:`, 1);
    read = 0;
    front.refuse = false;
    await cleo.getByText(`back ${times}: 1`).waitFor();
    return read;
  };
  await eventually(back, 0);
  assert.equal(await back(), 0);
});
