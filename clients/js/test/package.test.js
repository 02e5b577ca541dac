// What is published: its size, its types, its files.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const HERE = fileURLToPath(new URL('..', import.meta.url));
const read = (name) => readFileSync(path.join(HERE, name), 'utf8');

test('the module is under 6 KB gzipped, at most 6,000 bytes, and imports nothing', () => {
  const source = read('pgchat.js');
  const size = gzipSync(source, { level: 9 }).length;
  assert.ok(size <= 6_000, `${size} bytes`);
  assert.doesNotMatch(source, /^\s*import\b|\bimport\(|\brequire\(/m);
});

test('the list of a conversation is at most 4 KiB gzipped, 4,096 bytes, and imports nothing but the client', () => {
  const source = read('conversation.js');
  const size = gzipSync(source, { level: 9 }).length;
  assert.ok(size <= 4_096, `${size} bytes`);
  assert.deepEqual(source.match(/^\s*import\b.*|\bimport\(|\brequire\(/gm), ["import { newId } from './pgchat.js';"]);
});

test('the types hold for those who use them', () => {
  execFileSync(process.execPath, [path.join(HERE, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', 'test/types'], { cwd: HERE, stdio: 'inherit' });
});

test('the types name all that the module has', async () => {
  const { createChatClient } = await import('../pgchat.js');
  const chat = createChatClient({ url: 'http://127.0.0.1:9', userId: 'u1', WebSocket: class {} });
  chat.close();
  const types = read('pgchat.d.ts');
  const body = (name) => types.slice(types.indexOf(`interface ${name} {`)).split('\n}\n')[0];
  for (const member of Object.keys(chat)) assert.match(body('ChatClient'), new RegExp(`^  (readonly )?${member}\\W`, 'm'), member);
  for (const group of ['conversations', 'messages', 'users']) {
    for (const member of Object.keys(chat[group])) assert.match(body('ChatClient'), new RegExp(`^    ${member}\\(`, 'm'), `${group}.${member}`);
  }
});

test('the types name all that a conversation has', async () => {
  const { openConversation } = await import('../conversation.js');
  const chat = { on: () => () => {}, conversations: { get: () => new Promise(() => {}) } };
  const types = read('conversation.d.ts');
  const body = types.slice(types.indexOf('interface OpenConversation {')).split('\n}\n')[0];
  const members = Object.keys(openConversation(chat, { id: 'c1' }));
  for (const member of members) assert.match(body, new RegExp(`^  (readonly )?${member}\\W`, 'm'), member);
  assert.equal(body.match(/^  (readonly )?\w+[(:]/gm).length, members.length);
});

test('the package names both modules, each with its types', async () => {
  for (const [name, module] of [['pgchat-client', 'pgchat'], ['pgchat-client/conversation', 'conversation']]) {
    assert.equal(await import(name), await import(`../${module}.js`), 'by the package’s own name');
    assert.equal(JSON.parse(read('package.json')).exports[name.replace('pgchat-client', '.')].types, `./${module}.d.ts`);
  }
});

test('the package holds the modules, their types, its README and licences', () => {
  const [{ files }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: HERE, stdio: ['ignore', 'pipe', 'ignore'] }));
  assert.deepEqual(files.map(({ path: name }) => name).sort(), ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'conversation.d.ts', 'conversation.js', 'package.json', 'pgchat.d.ts', 'pgchat.js']);
});

test('the types name each error of the client’s own', () => {
  const made = [...read('pgchat.js').matchAll(/new ChatError\('(\w+)'/g)].map(([, code]) => code);
  assert.ok(made.length > 5);
  const named = /type ClientErrorCode =([^;]+);/.exec(read('pgchat.d.ts'))[1];
  for (const code of [...made, 'queue_full', 'stopped', 'closed', 'disconnected']) assert.ok(named.includes(`'${code}'`), code);
});
