/** Types of the pgchat browser client, and what each call promises. */

export type MessageType = 'text' | 'image' | 'file';
export type Role = 'buyer' | 'developer' | 'broker' | 'admin';

export interface UserSummary {
  id: string;
  firstName: string | null;
  lastName: string | null;
  avatarUrl: string | null;
}

export interface User extends UserSummary {
  /** One of these, or one of the host's own. */
  role: Role | (string & {}) | null;
  isActive: boolean;
  isOnline: boolean;
  lastSeenAt: string | null;
}

export interface Message {
  id: string;
  conversationId: string;
  senderId: string;
  /** Text to be shown as text, never as HTML. Empty once the message is deleted. */
  content: string;
  /** One of these, or one of a later version: show that as text. */
  messageType: MessageType | (string & {});
  isRead: boolean;
  /** 1, 2, 3 … in each conversation, in the order of the commits. */
  seq: number;
  clientMessageId: string | null;
  createdAt: string;
  updatedAt: string;
  editedAt: string | null;
  deletedAt: string | null;
  sender: UserSummary;
}

export interface FoundMessage extends Message {
  /** Whom the user has that conversation with. */
  otherParticipant: UserSummary;
  /** With `snippets`: the text around the matches, in parts that are shown as text. */
  snippet?: { text: string; match: boolean }[];
}

export interface Conversation {
  id: string;
  participant1Id: string;
  participant2Id: string;
  participant1: UserSummary;
  participant2: UserSummary;
  lastMessageId: string | null;
  lastMessage: Message | null;
  lastSeq: number;
  /** Of the user that asks. In `conversation_created` 0 when it comes live; after a reconnect, how many there are by then. */
  unreadCount: number;
  /** `seq` of the first of them; null if there are none. */
  firstUnreadSeq: number | null;
  createdAt: string;
  updatedAt: string;
}

export interface Frame<Data = unknown> {
  type: string;
  data: Data;
  /** Who acted: the sender, the reader, the typist; the first participant of a new conversation; on frames about the connection, the connected user. */
  userId: string;
  /** Unix seconds. */
  timestamp: number;
  /** On events that a reconnect brings back. */
  cursor?: string;
}

/**
 * The client's own:
 *
 * - `queue_full`: `maxQueue` commands are already waiting; nothing was sent.
 * - `frame_too_big`: the service closed the socket over this command (1009).
 * - `disconnected`: the connection was lost over this command, `maxTries` times. Whether it was stored is not known; `send` with the same `clientMessageId` is safe.
 * - `stopped`, `closed`: the client does not connect (any more).
 * - `network`: no answer to an HTTP request; `bad_response`: a response that is not pgchat's.
 * - `no_token`: `getToken` failed, or has not answered in time.
 * - `not_allowed`, `unauthorized`: the service closed the socket with 4403, or with 4401 and there is no `getToken`.
 * - `handshake_refused`: HTTP requests are answered, but three WebSocket handshakes in a row failed: a proxy does not pass `Upgrade`, `ALLOWED_ORIGINS` is set but lacks the service's
 *   own origin, from which this page comes, or there are too many sockets, of the user or of the replica. The client goes on trying. A page of another origin that is not listed sees `network`.
 * - `too_many_watched`: `watchPresence` would make it more users than the service takes; thrown at once, and nothing changes. Where only `connected` tells that, it is emitted, and the first ones are watched.
 */
export type ClientErrorCode =
  | 'queue_full' | 'frame_too_big' | 'disconnected' | 'stopped' | 'closed' | 'network' | 'bad_response' | 'no_token' | 'not_allowed' | 'unauthorized' | 'handshake_refused' | 'too_many_watched';

/** The service's: docs/api.md has what each means. A later version may have more. */
export type ServiceErrorCode =
  | 'validation_failed' | 'unauthorized' | 'token_invalid' | 'token_expired' | 'ticket_invalid' | 'user_mismatch' | 'user_deactivated' | 'not_a_participant'
  | 'not_the_sender' | 'origin_not_allowed' | 'refused' | 'route_not_found' | 'search_off' | 'directory_off' | 'user_not_found' | 'conversation_not_found' | 'message_not_found'
  | 'method_not_allowed' | 'request_timeout' | 'client_message_id_reused' | 'payload_too_large' | 'unsupported_media_type' | 'upgrade_required' | 'too_many_requests'
  | 'too_many_sockets' | 'internal' | 'unavailable' | 'search_timeout'
  | (string & {});

/** What went wrong, by a stable name. */
export class ChatError extends Error {
  constructor(code: string, message: string, more?: object);
  readonly name: 'ChatError';
  /** The client's, or the service's. */
  readonly code: ClientErrorCode | ServiceErrorCode;
  /** Of an HTTP answer. */
  readonly status?: number;
  /** When the service takes it again: from `Retry-After` (0 where there was none, or where CORS hides it), or of a command's refusal. */
  readonly retryAfterMs?: number;
  /** Of an HTTP answer: its `x-request-id`, by which the service's log has it; `null` where there was none. */
  readonly requestId?: string | null;
  /** Of a `send` that failed: send with it once more, so that a message that was stored after all is not stored twice. */
  readonly clientMessageId?: string;
  /** Of the socket. */
  readonly closeCode?: number;
}

/**
 * - `idle`: made a moment ago, connects at once.
 * - `connecting`, `online`.
 * - `waiting`: connects again in `retryInMs`, or at once on `online` and when the page becomes visible.
 * - `stopped`: the service refused; only `connect()` tries again.
 * - `closed`: by `close()`.
 */
export type Status = 'idle' | 'connecting' | 'online' | 'waiting' | 'stopped' | 'closed';

export interface StatusEvent extends Partial<Connected> {
  status: Status;
  /** How many attempts there were since a connection last held. */
  attempt?: number;
  retryInMs?: number;
  closeCode?: number;
  reason?: string;
  error?: ChatError;
}

export interface Connected {
  connectionId: string;
  replicaId: string;
  heartbeatSeconds: number;
  cursor: string;
  /** `true`: everything that was missed follows. `false`: load what you show over HTTP, and return the promise of it. */
  resumed: boolean;
  /** As the service is set: bytes of UTF-8 of a content, users of `watchPresence`, seconds until typing ends unless it is renewed. */
  limits: { maxMessageBytes: number; maxWatchedUsers: number; typingSeconds: number };
  /** Whether messages can be searched. */
  search: boolean;
  /** Whether the token allows listing and searching users; if not, `users.list` is rejected with `directory_off`. */
  directory: boolean;
}

/** A message on its way, told at once (`queued`) and when it ended. */
export interface Outgoing {
  clientMessageId: string;
  conversationId: string;
  content: string;
  messageType: MessageType;
  state: 'queued' | 'sent' | 'failed';
  /** As it was stored, with `sent`. */
  message?: Message;
  /** With `failed`. */
  error?: ChatError;
}

export interface Events {
  // From the service.
  /** With `resumed: false`: until all listeners are done, and if one fails, the next connection does not resume from this one, and tells so again. */
  connected: Connected;
  /** To both participants, the sender's own sockets too. */
  chat_message: Message;
  message_updated: Message;
  message_deleted: Message;
  messages_read: { conversationId: string; readerId: string; upToSeq: number };
  conversation_created: Conversation;
  /**
   * That somebody stopped may not be told (their connection or yours was lost): end it yourself, `limits.typingSeconds` after the last `isTyping: true`,
   * which is repeated while they go on.
   */
  typing: { conversationId: string; userId: string; isTyping: boolean };
  presence: { userId: string; isOnline: boolean; lastSeenAt: string | null };
  /**
   * Too much was missed: load what you show over HTTP, and return the promise of it. Until all listeners are done, and if one fails,
   * the next connection does not resume, and asks for it again by `connected` with `resumed: false`.
   */
  resync_required: { reason: string };
  token_expiring: { expiresAt: string };
  server_closing: { reconnectAfterMs: number };

  // From the client.
  status: StatusEvent;
  outgoing: Outgoing;
  queue_full: { limit: number };
  /** Failures that no call's promise reports: a refused handshake, a listener that threw or whose promise was rejected, … Without a listener: `console.error`. */
  error: Error;
  /** Every frame, for showing and logging. `authenticate` goes out without its token here. */
  frame: { direction: 'in' | 'out'; frame: { type: string; requestId?: string; data: any; cursor?: string; userId?: string; timestamp?: number } };
}

/** Whose chat it is: `userId`, or `getToken`, or both. */
export type ChatOptions = ChatSettings & ({ userId: string } | Required<Pick<ChatSettings, 'getToken'>>);

export interface ChatSettings {
  /**
   * Of the service: `https://chat.example.com`, a path may follow; relative to the page, where there is one. Throws if it is not a valid URL. Default:
   * where the page comes from; outside of a page there is none.
   */
  url?: string | URL;
  /** With `getToken` it may be left out where the service reads tokens (`AUTH_MODE=jwt`): then it is whose token it is, by the claim that the service looks at. */
  userId?: string;
  /**
   * A JWT. Called when there is none yet, when one was refused (`refusal`: why), and 60 s before it expires (where it had no more
   * than that left when it was presented: in the last quarter of it). If it gives the same one then, or if it or the renewal fails, it is called again after half of the time that is left, at least 5 s; until another one has come the one in use goes on being used. It may take its time, as a login by hand does, but has to end: it is not called again before. What waits for it fails after `timeoutMs`, and the client tries
   * again; a token that comes later still counts.
   */
  getToken?: (refusal?: string) => string | Promise<string>;
  /** Open sockets by a ticket (one more request each) instead of the subprotocol. The token is in no URL either way. */
  ticket?: boolean;
  /** Whether the socket makes its user online, from the handshake on; `setActive` changes it. An inactive one is told all the same. `true`. */
  active?: boolean;
  /** Where to go on, from `cursor` of an earlier client. Without one it starts live. */
  cursor?: string;
  /** Commands without their answer, waiting offline included. 100. */
  maxQueue?: number;
  /** How often a command is sent, because it was refused for a while or the connection was lost, before it fails. 10; where it is refused with `internal`, which may not pass, 3. */
  maxTries?: number;
  /** How many users are watched at most until the first `connected`: from then on its `limits.maxWatchedUsers` counts. 500. */
  maxWatched?: number;
  /** The first pause before a reconnect is random, from 0 to this; each further one up to twice that. 500. */
  minDelayMs?: number;
  /** 30,000. */
  maxDelayMs?: number;
  /** A connection that held this long makes the pauses short again. 10,000. */
  stableMs?: number;
  /**
   * Of an HTTP request, a handshake, and of waiting for `getToken`. A command that has no answer by then may be slow: the client sends a
   * `ping`, and takes the connection for lost if that has no answer in 5 s. 15,000.
   */
  timeoutMs?: number;
  /** Default: the global one. Node before 22 has none: the package `ws`. */
  WebSocket?: new (url: string, protocols: string[]) => any;
  /**
   * Default: the global one, as it is when the client is made. Your own may add what a gateway before the service wants: `(url, init) => fetch(url, { ...init, credentials: 'include' })`.
   * What it throws is an error `network`.
   */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  random?: () => number;
}

export interface Page {
  /** 1 to 200 (users: 1 to 1000). */
  limit?: number;
  offset?: number;
}

/** The last messages, those behind `offset` later ones, those `before` a `seq`, or those `after` one. */
export type MessagePage = { limit?: number } & (
  | { offset?: number; before?: never; after?: never }
  | { before?: number; offset?: never; after?: never }
  | { after?: number; offset?: never; before?: never }
);

export interface ChatClient {
  /** Calls `listener` at every event of that type, until the returned function is called. It may return a promise: see `connected` and `resync_required`. */
  on<Type extends keyof Events>(type: Type, listener: (data: Events[Type], frame?: Frame<Events[Type]>) => unknown): () => void;

  /**
   * By itself once the client is made; by hand after `stopped` or `closed`, or to wait no longer. While it is `online`, it asks the service for
   * a sign of life, and takes the connection for lost without one within 5 s. Resolves once the handshake is on its
   * way: the event `connected` tells that there is a connection, `status` what else becomes of it.
   */
  connect(): Promise<void>;
  /** Ends the connection; what waits is rejected with `closed`. Calls over HTTP (lists, search) end as they would have. */
  close(): void;
  readonly status: Status;
  /** Without the option `userId`: `undefined` until `connected`. */
  readonly userId: string | undefined;
  /** Opaque: where a later client can go on. Stands still, or is `undefined`, while listeners of `connected` or `resync_required` load. */
  readonly cursor: string | undefined;
  /** Commands without their answer. */
  readonly queued: number;

  /**
   * Resolves with the message once it is committed. Waits while there is no connection, and is sent again after one was
   * lost; it is stored once. Messages of one conversation are stored in the order of the calls.
   */
  send(message: { conversationId: string; content: string; messageType?: MessageType; clientMessageId?: string }): Promise<Message>;
  /** Own messages only; waits for a connection like `send`. */
  edit(messageId: string, content: string): Promise<Message>;
  /** Own messages only; waits for a connection like `send`. */
  delete(messageId: string): Promise<void>;
  /**
   * Marks the other participant's messages up to `upToSeq` as read; waits for a connection like `send`. Pass the last `seq` that you
   * show: without one all are marked that there are by the time that it gets through, those that nobody has seen, too.
   */
  markRead(conversationId: string, upToSeq?: number): Promise<{ conversationId: string; markedCount: number; readSeq: number }>;
  /** Tells the other participant, if there is a connection. Repeat it at least twice per `limits.typingSeconds` of `connected` while it is true. */
  typing(conversationId: string, isTyping?: boolean): void;
  /**
   * Asks for the event `presence` of these users, now, at each change and at each reconnect, until the returned function is called. What several
   * calls watch is added up: a user is watched as long as one of them does. All together at most as many users as the service takes (`maxWatchedUsers` of `connected`; before that `maxWatched`), else it throws `too_many_watched`.
   * What is no list of ids (not empty strings) throws a `TypeError`. Both throw at once, and nothing changes.
   */
  watchPresence(userIds: readonly string[] | ReadonlySet<string>): () => void;
  /**
   * Whether the socket makes its user online, from now on and over reconnects: `false` for a page that nobody sees. Everything else arrives as before. The last call
   * counts; what the service refuses for the moment is told again. To become active shows at once, to become inactive after its `PRESENCE_GRACE_SECONDS`.
   */
  setActive(isActive: boolean): void;
  /** In the user's own conversations. `snippets` adds to each message the text around what was found. `limit` 20, `offset` at most 1000. */
  search(q: string, query?: Page & { conversationId?: string; snippets?: boolean }): Promise<{ messages: FoundMessage[]; hasMore: boolean }>;
  unreadCount(): Promise<number>;

  conversations: {
    /**
     * Last active first. All of them, or those that are all of this: with `unread` messages, with somebody who has `q` in their name (any part
     * of it, in either order), `with` one other user, if there is one.
     */
    list(query?: Page & { unread?: boolean; q?: string; with?: string }): Promise<{ conversations: Conversation[]; hasMore: boolean }>;
    /** One that the user takes part in; else it is rejected with status 403 or 404. */
    get(conversationId: string): Promise<Conversation>;
    /** The conversation with that user, made if there is none. */
    open(userId: string): Promise<Conversation>;
    /** As `markRead`, over HTTP and beside what waits: also while the page is being left, or after `close()`. It is not tried again. */
    markRead(conversationId: string, upToSeq?: number): Promise<{ conversationId: string; markedCount: number; readSeq: number }>;
  };
  messages: {
    /** Newest first; with `after` oldest first. `before` and `after` are `seq`s, and stay fast at any depth; one of them, or `offset`. */
    list(conversationId: string, page?: MessagePage): Promise<{ messages: Message[]; hasMore: boolean }>;
    /** One of a conversation that the user takes part in; else, or once it is deleted, it is rejected with status 403 or 404. */
    get(messageId: string): Promise<Message>;
  };
  users: {
    /** By last name, first name, id. `q`: any part of the full name, in either order. All users, or those of one `role`, or those who are `active` (`false`: are not), or those of 1 to 100 `ids`, or who is all of that. */
    list(query?: Page & { q?: string; role?: Role | (string & {}); active?: boolean; ids?: string[] }): Promise<{ users: User[]; hasMore: boolean }>;
    get(userId: string): Promise<User>;
  };
}

export function createChatClient(options: ChatOptions): ChatClient;

/** An id for `clientMessageId`. */
export function newId(): string;
