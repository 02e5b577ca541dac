/**
 * The browser client of pgchat: see README.md.
 * A command is `pending` until settled; no timer outlives close(); no failure is silent.
 */

export class ChatError extends Error {
  constructor(code, message, more) {
    super(message);
    Object.assign(this, more, { name: 'ChatError', code });
  }
}

/** These pass, within so many tries. */
const RETRIED = { unavailable: Infinity, too_many_requests: Infinity, request_timeout: Infinity, internal: 3 };

const ENDED = ['stopped', 'closed', 'disconnected'];

function needs(what) {
  throw new TypeError(`needs ${what}`);
}

export function createChatClient(options = {}) {
  let {
    url = globalThis.location?.origin, userId, getToken, ticket, cursor, active,
    maxQueue = 100, maxTries = 10, maxWatched = 500, minDelayMs = 500, maxDelayMs = 30_000, stableMs = 10_000, timeoutMs = 15_000,
    WebSocket = globalThis.WebSocket, fetch = globalThis.fetch, random = Math.random,
  } = options;
  if (!url) needs('url');
  if (!WebSocket) needs('WebSocket');
  if (!userId && !getToken) needs('userId or getToken');
  url = new URL(url, globalThis.location).href.replace(/\/+$/, '');

  const listeners = {};
  const pending = new Map();
  const seen = new Map();
  const timers = {};
  const watches = new Set();
  let status = 'idle';
  let generation = 0; // what older ones awaited is void
  let attempt = 0, refusals = 0, lastId = 0, leastDelayMs = 0, heartbeatMs = 25_000, newest = cursor;
  let socket, socketToken, asking, given, refusal, held;

  // Events

  function on(type, listener) {
    const all = (listeners[type] ??= new Set());
    all.add(listener);
    return () => all.delete(listener);
  }

  /** Which of them failed. */
  function emit(type, data, frame) {
    const all = [...(listeners[type] ?? [])];
    if (type === 'error' && !all.length) console.error(data);
    return Promise.all(all.map(async (listener) => {
      try {
        await listener(data, frame);
      } catch (error) {
        if (type === 'error') console.error(error);
        else emit('error', error);
        return true;
      }
    }));
  }

  function setStatus(next, more) {
    status = next;
    emit('status', { status, ...more });
  }

  function timer(name, delay, run) {
    clearTimeout(timers[name]);
    timers[name] = run && setTimeout(run, delay);
  }

  const backoff = (tries) => random() * Math.min(maxDelayMs, minDelayMs * 2 ** tries);

  const pause = ({ retryAfterMs = 0 }, tries) => Math.max(minDelayMs, retryAfterMs) + backoff(tries);

  // HTTP

  /** Kept until refused, or a `fresh` one has come; one call at a time. */
  const credentials = (fresh) => new Promise((resolve, reject) => {
    if (given && !fresh) return resolve(given);
    const late = setTimeout(reject, timeoutMs, 'no answer in time');
    asking ||= Promise.resolve(refusal).then(getToken).then((jwt) => (jwt ? given = jwt : Promise.reject('nothing'))).finally(() => (asking = 0));
    asking.then(resolve, reject).finally(() => clearTimeout(late));
  }).catch((cause) => {
    throw new ChatError('no_token', `getToken failed: ${cause}`, { cause });
  });

  function drop(used, reason) {
    if (!given || used !== given) return;
    given = undefined;
    refusal = reason;
  }

  /** An empty one would name the list. */
  const part = (id) => encodeURIComponent(id || needs('an id'));

  const params = (query) => new URLSearchParams(JSON.parse(JSON.stringify(query)));

  async function http(path, query = {}, body, method = body ? 'POST' : 'GET', again = true) {
    const headers = {};
    const used = getToken && (await credentials());
    if (used) headers.authorization = `Bearer ${used}`;
    if (body) headers['content-type'] = 'application/json';
    let response, text, json;
    try {
      response = await fetch(`${url}/api/v1/${path}?${params(query)}`, { method, headers, keepalive: method === 'PUT', body: body && JSON.stringify(body), signal: AbortSignal.timeout?.(timeoutMs) });
      text = await response.text();
    } catch (cause) {
      throw new ChatError('network', `${path}: ${cause}`, { cause });
    }
    const { ok, status } = response;
    try {
      json = JSON.parse(text);
    } catch { /* a proxy's page */ }
    if (ok && json) return json;
    const error = new ChatError(json?.code ?? 'bad_response', [json?.message ?? `${path}: ${status}`].flat().join('; '), {
      status, retryAfterMs: 1000 * response.headers.get('retry-after') || 0, requestId: response.headers.get('x-request-id'),
    });
    if (status !== 401 || !used || !again) throw error;
    drop(used, error.message);
    return http(path, query, body, method, false);
  }

  /** The service knows whose a token is. */
  const own = async (path, query) => http(`chat/users/${part(userId || 'me')}/${path}`, query);

  // Connection

  async function connect() {
    if (status === 'online') return probe(); // it may be long dead
    if (status === 'connecting') return;
    listen('addEventListener');
    detach();
    const mine = ++generation;
    setStatus('connecting', { attempt });
    try {
      const protocols = ['pgchat.v1'];
      const used = getToken && (await credentials());
      const query = { user_id: userId };
      if (ticket) query.ticket = (await http('ws/ticket', query, 0, 'POST')).ticket;
      else if (used) protocols.push(`bearer.${used}`);
      if (mine !== generation) return;
      socketToken = used;
      socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws?${params({ ...query, cursor: held ? undefined : cursor, active })}`, protocols);
      socket.onmessage = receive;
      socket.onclose = ({ code, reason }) => lost(code, reason);
      socket.onerror = () => {};
      Object.assign(socket, { cursor: held ? undefined : cursor, active });
      timer('alive', timeoutMs, () => lost(1006, 'no answer in time'));
    } catch (error) {
      unreachable(mine, error);
    }
  }

  function detach() {
    for (const name in timers) timer(name);
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  function lost(closeCode, reason) {
    const about = { closeCode, reason };
    let biggest;
    detach();
    for (const asked of [...pending.values()]) {
      if (asked.state === 'paused') continue;
      clearTimeout(asked.timer);
      if (asked.state === 'sent' && !(biggest?.text.length >= asked.text.length)) biggest = asked;
      if (!asked.lane || asked.tries >= maxTries) settle(asked, new ChatError('disconnected', `lost: ${closeCode}`, about));
      asked.state = '';
    }
    if (closeCode === 4403) return stop(new ChatError('not_allowed', reason, about));
    if (closeCode === 4401) {
      if (!getToken) return stop(new ChatError('unauthorized', reason, about));
      drop(socketToken, reason);
    }
    if (closeCode === 1009) {
      const error = new ChatError('frame_too_big', reason, about);
      if (!biggest) return stop(error);
      settle(biggest, error);
    }
    if (closeCode === 1006 && status !== 'online') diagnose(about);
    else retry(about);
  }

  /** Browsers hide why a handshake was refused. This route is for the user alone. */
  async function diagnose(about) {
    const mine = generation;
    unreachable(mine, await own('unread-count').then(() => {
      if (++refusals > 2) return new ChatError('handshake_refused', 'HTTP works: a proxy without Upgrade, ALLOWED_ORIGINS, or too many sockets?');
    }, (error) => error), about);
  }

  function unreachable(mine, error, about) {
    if (mine !== generation) return;
    const { status, code, retryAfterMs } = error ?? {};
    if (code !== 'bad_response' && [400, 403, 404, !getToken && 401].includes(status)) return stop(error);
    if (error && code !== 'network' && (code !== 'handshake_refused' || refusals === 3)) emit('error', error);
    retry({ ...about, error }, retryAfterMs);
  }

  function retry(about, least = leastDelayMs) {
    const retryInMs = least + backoff(attempt++);
    leastDelayMs = 0;
    timer('retry', retryInMs, connect);
    setStatus('waiting', { ...about, attempt, retryInMs });
  }

  function stop(error) {
    end('stopped', error);
    emit('error', error);
  }

  function end(next, error) {
    generation++;
    detach();
    listen('removeEventListener');
    setStatus(next, { error });
    for (const asked of [...pending.values()]) settle(asked, error);
  }

  function wake({ type }) {
    if (type === 'visibilitychange' && globalThis.document?.hidden) return;
    if (status !== 'online') {
      if (type === 'offline') return;
      status = 'waiting'; // a handshake may hang
    }
    connect();
  }

  function listen(how) {
    for (const type of ['online', 'offline', 'visibilitychange']) globalThis[how]?.(type, wake);
  }

  // Frames

  function receive({ data: text }) {
    const mine = generation;
    let frame, type, data;
    try {
      ({ type, data = {} } = frame = JSON.parse(text));
    } catch (error) {
      return emit('error', error);
    }
    if (type === 'connected') heartbeatMs = 1000 * data.heartbeatSeconds;
    timer('alive', heartbeatMs, () => tell('ping', {}));
    emit('frame', { direction: 'in', frame });
    if (mine !== generation) return;
    if (type === 'ack' || type === 'error') return answer(type, data);
    if (type === 'connected') {
      held = refusals = 0;
      cursor = socket.cursor; // a load may have ended
      userId = frame.userId;
      maxWatched = data.limits?.maxWatchedUsers ?? maxWatched;
      timer('stable', stableMs, () => (attempt = 0));
      setStatus('online', data);
      if (mine !== generation) return;
      if (watches.size) watch();
      if (active !== socket.active) tellActive();
      pump();
    }
    if (type === 'server_closing') leastDelayMs = data.reconnectAfterMs;
    if (type === 'token_expiring' && getToken) renew(Date.parse(data.expiresAt) - 1000 * frame.timestamp || 0);
    const told = !isRepeat(data) && emit(type, data, frame);
    newest = frame.cursor ?? data.cursor ?? newest;
    if (type === 'resync_required' || data.resumed === false) {
      seen.clear();
      held = told;
      // Until all is loaded a connection asks for it again.
      told.then((failed) => held === told && !failed.includes(true) && (cursor = newest, held = 0));
    }
    if (!held) cursor = newest;
  }

  function isRepeat({ id, updatedAt }) {
    if (!updatedAt) return false;
    if (seen.get(id) === updatedAt) return true;
    seen.delete(id);
    seen.set(id, updatedAt); // the youngest
    if (seen.size > 2000) seen.delete(seen.keys().next().value);
  }

  /** While it fails, or getToken gives the one in use, it is tried again; a new one that may pass later is kept. */
  async function renew(leftMs, fresh) {
    const mine = generation;
    if (!fresh && given) refusal = 'it expires';
    try {
      fresh ||= await credentials(true);
      if (mine !== generation) return;
      if (fresh !== socketToken) {
        await command('authenticate', { token: fresh });
        socketToken = fresh;
        return;
      }
      fresh = 0;
    } catch (error) {
      if (ENDED.includes(error.code)) return;
      if (!RETRIED[error.code]) fresh = drop(fresh, error.message);
      complain(error);
    }
    // One that was late has come.
    if (mine === generation && status === 'online') timer('renew', Math.max(5_000, leftMs / 2), () => renew(leftMs / 2, fresh || (given !== socketToken && given)));
  }

  // Commands

  /** One of a lane at a time: retries overtake nothing. Without one, now or never. */
  function command(type, data, lane, timeout = timeoutMs) {
    return new Promise((resolve, reject) => {
      const refusal = ENDED.includes(status) ? status : lane ? pending.size >= maxQueue && 'queue_full' : status !== 'online' && 'disconnected';
      if (refusal) {
        if (refusal === 'queue_full') emit(refusal, { limit: maxQueue });
        return reject(new ChatError(refusal, `${type} was not sent: ${refusal}`));
      }
      const requestId = `${++lastId}`;
      const text = JSON.stringify({ type, requestId, data });
      pending.set(requestId, { lane, timeout, requestId, type, data, text, tries: 0, resolve, reject });
      pump();
    });
  }

  function pump() {
    const busy = new Set();
    for (const next of [...pending.values()]) {
      const { lane, requestId, type, data, text } = next;
      const waits = next.state || (lane && busy.has(lane));
      busy.add(lane);
      if (waits || status !== 'online' || socket.readyState !== 1) continue;
      next.state = 'sent';
      next.tries++;
      expect(next);
      socket.send(text);
      // No tokens.
      emit('frame', { direction: 'out', frame: { type, requestId, data: data.token ? {} : data } });
    }
  }

  /** Lost if a ping has none, either. */
  function expect(asked) {
    asked.timer = setTimeout(() => {
      if (asked.type === 'ping') return lost(1006, 'no answer in time');
      expect(asked);
      probe();
    }, asked.timeout);
  }

  function answer(type, { requestId, ...data }) {
    const asked = pending.get(requestId);
    const error = type === 'error' && new ChatError(data.code, data.message, { retryAfterMs: data.retryAfterMs });
    if (asked?.lane && asked.tries < RETRIED[data.code] && asked.tries < maxTries) {
      clearTimeout(asked.timer);
      asked.state = 'paused';
      asked.timer = setTimeout(() => pump(asked.state = ''), pause(error, asked.tries));
    } else if (asked) settle(asked, error, data);
    else if (error) emit('error', error);
  }

  function settle(asked, error, data) {
    clearTimeout(asked.timer);
    pending.delete(asked.requestId);
    if (error) asked.reject(error);
    else asked.resolve(data);
    pump();
  }

  const probe = () => tell('ping', {}, 5_000);

  function tell(type, data, timeout) {
    command(type, data, '', timeout).catch(complain);
  }

  /** The status tells an end. */
  function complain(error) {
    if (!ENDED.includes(error.code)) emit('error', error);
  }

  function watchPresence(userIds) {
    const mine = [...userIds];
    if (typeof userIds === 'string' || !mine.every((id) => id && typeof id === 'string')) throw new TypeError('userIds must be a list of ids');
    watches.add(mine);
    if (union().length > maxWatched) {
      watches.delete(mine);
      throw tooMany();
    }
    watch();
    return () => watches.delete(mine) && watch();
  }

  const union = () => [...new Set([...watches].flat())];

  const tooMany = () => new ChatError('too_many_watched', `over ${maxWatched} users`);

  /** Once in a turn, one at a time; what changes meanwhile follows the answer or the pause. */
  function teller(type, data) {
    let busy, changed;
    return async function update(tries = 1) {
      changed = true;
      if (busy || timers[type]) return;
      busy = true;
      await undefined;
      changed = false;
      const error = await command(type, data()).catch((failed) => failed);
      busy = false;
      const again = tries < RETRIED[error.code];
      if (again ? tries === maxTries : error.code) complain(error);
      if (again) timer(type, pause(error, tries), () => update(tries + 1, timer(type)));
      else if (changed) update();
    };
  }

  /** The limit may be told once they are watched. */
  const watch = teller('watch_presence', () => {
    if (union().length > maxWatched) complain(tooMany());
    return { userIds: union().slice(0, maxWatched) };
  });

  const tellActive = teller('set_active', () => ({ active }));

  function send({ conversationId, content, messageType = 'text', clientMessageId = newId() }) {
    const data = { conversationId, content, messageType, clientMessageId };
    const sent = command('send_message', data, conversationId).then(({ message }) => message, (error) => {
      throw new ChatError(error.code, error.message, { ...error, clientMessageId }); // others may have the same
    });
    const tellOf = (more) => emit('outgoing', { ...data, ...more });
    tellOf({ state: 'queued' });
    sent.then((message) => tellOf({ state: 'sent', message }), (error) => tellOf({ state: 'failed', error }));
    return sent;
  }

  queueMicrotask(() => status === 'idle' && connect());

  return {
    on,
    connect,
    close: () => end('closed', new ChatError('closed', 'closed')),
    get status() { return status; },
    get userId() { return userId; },
    get cursor() { return cursor; },
    get queued() { return pending.size; },
    send,
    edit: (messageId, content) => command('edit_message', { messageId, content }, messageId).then(({ message }) => message),
    delete: (messageId) => command('delete_message', { messageId }, messageId).then(() => {}),
    markRead: (conversationId, upToSeq) => command('mark_read', { conversationId, upToSeq }, `${conversationId} read`),
    typing: (conversationId, isTyping = true) => tell('typing', { conversationId, isTyping }),
    watchPresence,
    setActive(next) {
      active = next;
      tellActive();
    },
    search: (q, { conversationId, ...query } = {}) => own('search', { q, conversation_id: conversationId, ...query }),
    unreadCount: async () => (await own('unread-count')).unreadCount,
    conversations: {
      list: (query) => own('conversations', query),
      get: async (id) => own(`conversations/${part(id)}`),
      markRead: async (conversationId, upToSeq) => http(`chat/conversations/${part(conversationId)}/read`, { user_id: userId, up_to_seq: upToSeq }, 0, 'PUT'),
      open: async (user2Id) => http('chat/conversations', {}, { user1Id: userId, user2Id }),
    },
    messages: {
      list: async (conversationId, query) => http(`chat/conversations/${part(conversationId)}/messages`, { user_id: userId, ...query }),
      get: async (id) => http(`chat/messages/${part(id)}`, { user_id: userId }),
    },
    users: {
      list: ({ role, ...query } = {}) => http('users/', { role: role || undefined, ...query }),
      get: async (id) => http(`users/${part(id)}`),
    },
  };
}

/** Without TLS there is no `crypto.randomUUID`. */
export function newId() {
  return crypto.getRandomValues(new Uint32Array(4)).join('-');
}
