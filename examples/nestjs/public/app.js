// The page: logs in at this application, and talks to pgchat with the token that it got there.
const $ = (id) => document.getElementById(id);
const say = (text) => ($('status').textContent = text);

let token;
let me;
let chat;
let openConversation; // of pgchat's client
let conversation; // the one that is shown

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
  ({ openConversation } = await import(`${pgchatUrl}/client/conversation.js`));
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
  // If loading fails the client is told so again.
  chat.on('connected', ({ resumed }) => resumed || list());
  chat.on('resync_required', list);
  chat.on('conversation_created', () => list().catch((error) => say(error.message)));
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
  leave();
  chat.close();
  token = undefined;
  for (const id of ['conversations', 'messages', 'me']) $(id).replaceChildren();
  $('inside').hidden = true;
  $('login').hidden = false;
  say('Please log in again.');
}

async function list() {
  const { conversations } = await chat.conversations.list();
  $('conversations').replaceChildren(...conversations.map(({ id, participant1, participant2 }) => {
    const other = participant1.id === me.id ? participant2 : participant1;
    const button = document.createElement('button');
    button.textContent = `${other.firstName} ${other.lastName}`;
    button.dataset.id = id;
    button.onclick = () => look(id, button.textContent);
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
  mark();
}

/** The conversation that is shown stands out in the list. */
function mark() {
  for (const button of $('conversations').querySelectorAll('button')) button.ariaCurrent = button.dataset.id === conversation?.id ? 'true' : null;
}

function look(conversationId, name) {
  $('conversation').querySelector('h2').textContent = name;
  if (conversation?.id === conversationId) return;
  leave();
  conversation = openConversation(chat, { id: conversationId });
  conversation.subscribe(show);
  $('conversation').hidden = false;
  mark();
}

function leave() {
  conversation?.close();
  conversation = undefined;
  $('conversation').hidden = true;
  $('messages').replaceChildren();
}

/** As it is now: in order, as it was edited or deleted, with what is not sent yet. */
function show() {
  const { messages, state, error } = conversation;
  if (state === 'deleted') return leave();
  if (error) say(error.message);
  $('messages').replaceChildren(...messages.map(({ senderId, sender, content, deletedAt, state }) => Object.assign(document.createElement('li'), {
    dir: 'auto', className: `${senderId === me.id ? 'mine' : ''} ${state ?? ''}`, textContent: `${sender.firstName ?? me.firstName}: ${deletedAt ? '(deleted)' : content}`,
  })));
  $('messages').scrollTop = $('messages').scrollHeight;
}

/** Until they have arrived: sent once more after a failure, they have the same key, and are stored once. */
let enquiry;
let viewing;

handle($('enquiry'), async ({ brokerId, flat }, form) => {
  if (enquiry?.brokerId !== brokerId || enquiry.flat !== flat) enquiry = { brokerId, flat, key: crypto.randomUUID() };
  const { conversationId } = await call('enquiries', enquiry);
  enquiry = undefined;
  look(conversationId, form.elements.brokerId.selectedOptions[0].text);
});

handle($('send'), async ({ content }, form) => {
  form.reset();
  try {
    await conversation.send(content); // once more after a failure, it is stored once
  } catch (error) {
    form.elements.content.value ||= content; // unless something else is being written
    throw error;
  }
});

handle($('viewing'), async ({ at }) => {
  const time = new Date(at).toISOString();
  if (viewing?.conversationId !== conversation.id || viewing.at !== time) viewing = { conversationId: conversation.id, at: time, key: crypto.randomUUID() };
  await call('viewings', viewing);
  viewing = undefined;
});
