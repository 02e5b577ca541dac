/** Types of the list of one conversation, and what each call promises. */

import type { ChatClient, ChatError, Message, MessageType, UserSummary } from './pgchat.js';

/** As the service has it. */
export type StoredMessage = Message & { state?: undefined };

/** Sent by this client, and not stored yet as far as it knows. */
export interface UnsentMessage extends Pick<Message, 'content' | 'sender' | 'createdAt'> {
  /** `pending` also while there is no connection; `failed`: `error` has the reason, and it may have been stored after all. */
  state: 'pending' | 'failed';
  error: ChatError | undefined;
  /** The `clientMessageId`; once it is stored it has the service's. */
  id: string;
  clientMessageId: string;
  /** Unknown until the conversation is made. */
  conversationId: string | undefined;
  messageType: MessageType;
  /** Unknown until the client knows whose it is. */
  senderId: string | undefined;
  seq?: undefined;
  isRead?: undefined;
  updatedAt?: undefined;
  editedAt?: undefined;
  deletedAt?: undefined;
}

/** `state` tells which of the two it is. */
export type ShownMessage = StoredMessage | UnsentMessage;

/**
 * - `loading`: something may be missing: what is shown is what was known before, and what was told since.
 * - `ready`: nothing is missing after the oldest message that is loaded.
 * - `deleted`: there is no such conversation of this user (any more). With `with`, one that either of the two opens takes its place.
 * - `failed`: it was refused for good, and `error` says why; it is asked for again only with the next connection.
 * - `closed`: by `close()`.
 */
export type ConversationState = 'loading' | 'ready' | 'deleted' | 'failed' | 'closed';

/** Which conversation: the one with that user, or the one with that id. */
export type ConversationOptions = ConversationSettings & ({ with: string; id?: undefined } | { id: string; with?: undefined });

export interface ConversationSettings {
  /** How many messages are loaded at a time, 1 to 200. 50. */
  pageSize?: number;
  /** How long the other participant types since that was told last, until `connected` tells what the service is set to. 6. */
  typingSeconds?: number;
  /** A load that failed is tried again after a random time from 0 to this, the next one up to twice that, at most 30,000, on top of what the service asks for. 500. */
  minDelayMs?: number;
}

/** None of its functions needs `this`. */
export interface OpenConversation {
  /** Calls `listener` after each change of what is below, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  /**
   * In the order of `seq`, then what is not stored yet in the order of the sends. Another array, frozen, when and only when something in it has changed; a message
   * that has not changed is the same object. What was deleted is there with `deletedAt`, until all is loaded anew if its row is gone.
   */
  readonly messages: readonly ShownMessage[];
  /** There are messages before these. */
  readonly hasOlder: boolean;
  readonly state: ConversationState;
  /** Why the last load failed; `undefined` once one has come. */
  readonly error: ChatError | undefined;
  /** With `with`: `undefined` until it is known, and while there is no conversation. */
  readonly id: string | undefined;
  /** The other participant; `undefined` as long as it is not known who that is. */
  readonly other: UserSummary | undefined;
  /** The other participant types. */
  readonly isTyping: boolean;
  /** Loads the page before the oldest message. While one is under way, the same promise. */
  loadOlder(): Promise<void>;
  /**
   * Shown at once, and stored once. Resolves with the message once that is known, by the answer or by its event, whichever comes first; is rejected as `send` of the client is.
   * The same content as that of a failed one sends that one again, under its `clientMessageId`. With `with`, the first message makes the conversation.
   */
  send(content: string, more?: { messageType?: MessageType; clientMessageId?: string }): Promise<Message>;
  /** Sends one that failed again, under its `clientMessageId`; `undefined` if there is no such failed message. */
  retry(clientMessageId: string): Promise<Message> | undefined;
  /** Takes one that failed off the list; should it be stored after all, it appears again. */
  discard(clientMessageId: string): void;
  /** Marks what the other one wrote as read, up to `upToSeq`, by default to the last message that is loaded. Waits while something may be missing; nothing is sent where nothing is unread. That it is read is shown with its event. */
  markRead(upToSeq?: number): Promise<void>;
  /** To be called as often as one likes, such as at each key: the service is told as often as it needs to be. */
  setTyping(isTyping?: boolean): void;
  /** Ends listening and loading; what was sent is still sent. */
  close(): void;
}

export function openConversation(chat: ChatClient, options: ConversationOptions): OpenConversation;
