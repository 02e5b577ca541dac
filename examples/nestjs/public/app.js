// The page: logs in at this application, and talks to pgchat with the token that it got there.
const $ = (id) => document.getElementById(id);
const say = (text) => ($('status').textContent = text);

let token;
let me;
let chat;
let open; // the conversation that is shown

async function call(path, body) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(path, body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.message), { status: response.status });
  return answer;
}

/** A handler whose failure is shown. */
const handle = (form, action) => form.addEventListener('submit', (event) => {
  event.preventDefault();
  action(Object.fromEntries(new FormData(form)), form).catch((error) => say(error.message));
});

handle($('login'), async (credentials) => {
  token = (await call('auth/login', credentials)).accessToken;
  me = await call('auth/me');
  $('login').hidden = true;
  $('inside').hidden = false;
  $('me').textContent = `${me.firstName} ${me.lastName}, ${me.role}`;
  $('enquiry').hidden = me.role !== 'buyer';
  $('viewing').hidden = me.role !== 'broker';
  await connect();
  const brokers = await call('brokers');
  $('enquiry').elements.brokerId.replaceChildren(...brokers.map(({ id, firstName, lastName }) => new Option(`${firstName} ${lastName}`, id)));
});

async function connect() {
  const { pgchatUrl } = await call('settings.json');
  const { createChatClient } = await import(`${pgchatUrl}/client/pgchat.js`);
  let fresh = true;
  chat = createChatClient({
    url: pgchatUrl,
    // The login's own token first; the client asks again a minute before it expires.
    async getToken() {
      if (!fresh) token = await nextToken();
      fresh = false;
      return token;
    },
  });
  chat.on('status', ({ status }) => say(status));
  chat.on('error', (error) => chat.status === 'closed' || say(error.message));
  chat.on('connected', ({ resumed }) => resumed || load());
  // Too much was missed: what is shown may be gone. If loading fails the client is told so again.
  chat.on('resync_required', () => {
    $('messages').replaceChildren();
    return load();
  });
  chat.on('conversation_created', () => list().catch((error) => say(error.message)));
  for (const type of ['chat_message', 'message_updated', 'message_deleted']) {
    chat.on(type, (message) => message.conversationId === open && show(message));
  }
}

async function nextToken() {
  try {
    return (await call('auth/refresh', {})).accessToken;
  } catch (error) {
    if (error.status === 401) logOut(); // the last one has expired: this computer slept, or had no network, for long
    throw error;
  }
}

function logOut() {
  chat.close();
  token = open = undefined;
  for (const id of ['conversations', 'messages', 'me']) $(id).replaceChildren();
  for (const id of ['inside', 'conversation']) $(id).hidden = true;
  $('login').hidden = false;
  say('Please log in again.');
}

async function load() {
  await list();
  const shown = open;
  if (!shown) return;
  try {
    await look(shown);
  } catch (error) {
    if (![403, 404].includes(error.status)) throw error;
    if (open !== shown) return; // another one was chosen meanwhile
    open = undefined; // it was deleted: there is none of this user's with that id
    $('conversation').hidden = true;
  }
}

async function list() {
  const { conversations } = await chat.conversations.list();
  $('conversations').replaceChildren(...conversations.map(({ id, participant1, participant2 }) => {
    const other = participant1.id === me.id ? participant2 : participant1;
    const button = document.createElement('button');
    button.textContent = `${other.firstName} ${other.lastName}`;
    button.dataset.id = id;
    button.onclick = () => look(id, button.textContent).catch((error) => say(error.message));
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
  mark();
}

/** The conversation that is shown stands out in the list. */
function mark() {
  for (const button of $('conversations').querySelectorAll('button')) button.ariaCurrent = button.dataset.id === open ? 'true' : null;
}

async function look(conversationId, name) {
  if (open !== conversationId) $('messages').replaceChildren();
  open = conversationId;
  if (name) $('conversation').querySelector('h2').textContent = name;
  $('conversation').hidden = false;
  mark();
  const { messages } = await chat.messages.list(conversationId);
  if (open === conversationId) messages.forEach(show); // else another one was chosen meanwhile
}

/** Where its `seq` belongs. What is loaded may be older than what came live meanwhile: the newest state stays. */
function show({ id, seq, senderId, sender, content, updatedAt, deletedAt }) {
  const item = document.getElementById(id) ?? document.createElement('li');
  if (item.dataset.updatedAt > updatedAt) return;
  item.dataset.updatedAt = updatedAt;
  Object.assign(item, { id, dir: 'auto', className: senderId === me.id ? 'mine' : '', textContent: `${sender.firstName}: ${deletedAt ? '(deleted)' : content}` });
  item.dataset.seq = seq;
  $('messages').insertBefore(item, [...$('messages').children].find((shown) => Number(shown.dataset.seq) > seq) ?? null);
  $('messages').scrollTop = $('messages').scrollHeight;
}

/** Until they have arrived: sent once more after a failure, they have the same key, and are stored once. */
let enquiry;
let viewing;

handle($('enquiry'), async ({ brokerId, flat }, form) => {
  if (enquiry?.brokerId !== brokerId || enquiry.flat !== flat) enquiry = { brokerId, flat, key: crypto.randomUUID() };
  const { conversationId } = await call('enquiries', enquiry);
  enquiry = undefined;
  await look(conversationId, form.elements.brokerId.selectedOptions[0].text);
});

/** What had no answer may have been stored after all: sent once more under the same id, it is stored once. */
let unsent;

handle($('send'), async ({ content }, form) => {
  const message = unsent?.conversationId === open && unsent.content === content ? unsent : { conversationId: open, content };
  unsent = undefined;
  form.reset();
  try {
    await chat.send(message);
  } catch (error) {
    unsent = { ...message, clientMessageId: error.clientMessageId };
    form.elements.content.value ||= content; // unless something else is being written
    throw error;
  }
});

handle($('viewing'), async ({ at }) => {
  const time = new Date(at).toISOString();
  if (viewing?.conversationId !== open || viewing.at !== time) viewing = { conversationId: open, at: time, key: crypto.randomUUID() };
  await call('viewings', viewing);
  viewing = undefined;
});
