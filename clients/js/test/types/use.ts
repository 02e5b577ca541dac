// Compiled, never run: what the types allow, and what they refuse.
import { openConversation, type ShownMessage } from '../../conversation.js';
import { ChatError, createChatClient, newId, type ChatOptions, type ClientErrorCode, type Conversation, type Message, type ServiceErrorCode } from '../../pgchat.js';

const chat = createChatClient({ url: 'https://chat.example.com', getToken: async () => 'jwt' });

const off: () => void = chat.on('chat_message', (message, frame) => {
  const text: string = message.content;
  const seq: number = frame!.data.seq;
  void [text, seq];
});
off();
chat.on('resync_required', async ({ reason }) => void reason);
createChatClient({ getToken: (refusal) => refusal?.toUpperCase() ?? 'jwt' });
chat.on('typing', ({ conversationId, isTyping }) => chat.typing(conversationId, isTyping));
chat.on('status', ({ status, retryInMs }) => status === 'waiting' && retryInMs?.toFixed());
chat.on('outgoing', ({ state, message }) => state === 'sent' && message?.id);
chat.on('error', (error) => error instanceof ChatError && error.code);
const waits: ClientErrorCode[] = ['queue_full', 'disconnected'];
// @ts-expect-error: the client has no such error
waits.push('queue_is_full');
// The service's are open: a later version has more.
const refusals: ServiceErrorCode[] = ['not_a_participant', 'of_a_later_version'];
chat.on('error', (error) => error instanceof ChatError && refusals.includes(error.code));

// Whose chat it is must be said, in one way or the other.
const whose: ChatOptions[] = [{ userId: 'u' }, { getToken: () => 'jwt' }, { userId: 'u', getToken: () => 'jwt', maxQueue: 5 }];
whose.map(createChatClient).map(({ userId }) => userId?.length);
// @ts-expect-error: neither
createChatClient({});
// @ts-expect-error: neither
createChatClient({ url: 'https://chat.example.com', ticket: true });
// @ts-expect-error: nothing at all
createChatClient();
// @ts-expect-error: a token is asked for, not given
createChatClient({ getToken: 'jwt' });
// @ts-expect-error: there is no such option
createChatClient({ userId: 'u', token: 'jwt' });

// @ts-expect-error: there is no such event
chat.on('chat_mesage', () => {});
// @ts-expect-error: a message has no text
chat.on('chat_message', ({ text }) => text);
// @ts-expect-error: a message needs content
chat.send({ conversationId: 'c' });
// @ts-expect-error: there are three types of messages
chat.send({ conversationId: 'c', content: 'x', messageType: 'video' });
// Of what others sent a later version may have more, which is no reason not to compile.
chat.on('chat_message', ({ messageType }) => messageType === 'image' || messageType === 'video');
// @ts-expect-error: the status is read only
chat.status = 'online';

const sent: Promise<Message> = chat.send({ conversationId: 'c', content: 'x', clientMessageId: newId() });
const older: Promise<{ messages: Message[]; hasMore: boolean }> = chat.messages.list('c', { before: 7, limit: 50 });
const found: Promise<string[]> = chat.search('heron', { limit: 5, offset: 5, snippets: true })
  .then(({ messages }) => messages.flatMap(({ snippet }) => snippet?.map(({ text }) => text) ?? []));
const one: Promise<Message> = chat.messages.get('m');
const withWhom: Promise<(string | null)[]> = chat.search('heron').then(({ messages }) => messages.map(({ otherParticipant }) => otherParticipant.firstName));
void [sent, older, found, one, withWhom];

const listed = [chat.users.list(), chat.users.list({ q: 'a' }), chat.users.list({ role: 'broker', limit: 5 }), chat.users.list({ active: true }), chat.users.list({ role: 'broker', active: false }), chat.users.list({ role: 'broker', active: true }), chat.users.list({ role: 'seller' }), chat.users.list({ ids: ['u1', 'u2'], active: true })];
void listed;
const narrowed = [chat.conversations.list(), chat.conversations.list({ unread: true }), chat.conversations.list({ q: 'zey', limit: 5 }), chat.conversations.list({ unread: true, q: 'zey' }), chat.conversations.list({ with: 'u2', limit: 1 })];
void narrowed;
// @ts-expect-error: whether, not how many
chat.conversations.list({ unread: 3 });
const pages = [chat.messages.list('c'), chat.messages.list('c', { after: 7 }), chat.messages.list('c', { offset: 50, limit: 50 })];
void pages;
// @ts-expect-error: before a message, or after one
chat.messages.list('c', { before: 7, after: 3 });
// @ts-expect-error: an offset counts from the last message
chat.messages.list('c', { before: 7, offset: 50 });
// @ts-expect-error: an offset counts from the last message
chat.messages.list('c', { after: 7, offset: 50 });

const unwatch: () => void = chat.watchPresence(new Set(['u2']));
unwatch();
const shownUsers: readonly string[] = ['u2', 'u3'];
chat.watchPresence(shownUsers);
// @ts-expect-error: one id is no list
chat.watchPresence('u2');
// @ts-expect-error: ids are strings
chat.watchPresence([2]);
createChatClient({ userId: 'u1', active: false }).setActive(true);
// @ts-expect-error: it is or it is not
chat.setActive('no');
const about: Promise<Conversation> = chat.conversations.get('c');
void about;
sent.catch((error) => (error instanceof ChatError ? chat.send({ conversationId: 'c', content: 'x', ...(error.clientMessageId && { clientMessageId: error.clientMessageId }) }) : Promise.reject(error)));

const conversation = openConversation(chat, { with: 'u2' });
const leave: () => void = conversation.subscribe(() => {});
leave();
/** As React's useSyncExternalStore takes them. */
const store: [(changed: () => void) => () => void, () => readonly ShownMessage[]] = [conversation.subscribe, () => conversation.messages];
void store;
for (const message of conversation.messages) {
  if (message.state === 'failed') void [conversation.retry(message.clientMessageId), message.error?.code, message.sender.firstName];
  else if (!message.state) void [message.seq.toFixed(), message.editedAt];
  // @ts-expect-error: what is not stored yet has no seq
  message.seq.toFixed();
}
const stored: Promise<Message> = openConversation(chat, { id: 'c', pageSize: 20 }).send('x', { clientMessageId: newId() });
void stored;
// @ts-expect-error: whose conversation it is must be said
openConversation(chat, {});
// @ts-expect-error: in one way
openConversation(chat, { with: 'u2', id: 'c' });
// @ts-expect-error: the list is not to be changed
conversation.messages.push(conversation.messages[0]!);
