// What one has written and the service has not answered yet: messages, edits and deletions; and messages that it did not take.
import { departed } from './latency.js';

export class Outbox {
  /** What messages are to say, by their id, until the service has answered. */
  #edits = new Map();
  /** The ids of those that are to be deleted, likewise. */
  #removals = new Set();

  /** `timelines`: by conversation; `timeline(id)`: that one, made where there is none; `changed(message)`: it is another one now; `tell(topic, data)`. */
  constructor(chat, { timelines, timeline, changed, tell }) {
    Object.assign(this, { chat, timelines, timeline, changed, tell });
    chat.on('outgoing', (outgoing) => this.#outgoing(outgoing));
  }

  send(conversationId, content) {
    this.chat.send({ conversationId, content }).catch(() => {}); // told by `outgoing`
  }

  /** What failed, once more, under the same id: if it was stored after all, it is not stored twice. */
  again({ conversationId, content, clientMessageId }) {
    this.chat.send({ conversationId, content, clientMessageId }).catch(() => {});
  }

  discard({ conversationId, clientMessageId }) {
    this.timeline(conversationId).outgoing.delete(clientMessageId);
    this.tell(conversationId);
  }

  /** Shown at once as it is to be; rejected where the service does not take it. */
  async edit({ id, conversationId }, content) {
    this.#edits.set(id, content);
    this.tell(conversationId);
    try {
      this.changed(await this.chat.edit(id, content));
    } finally {
      if (this.#edits.get(id) === content) this.#edits.delete(id);
      this.tell(conversationId);
    }
  }

  async remove({ id }) {
    this.#removals.add(id);
    try {
      await this.chat.delete(id);
    } finally {
      this.#removals.delete(id);
    }
  }

  /** With the edit that waits, if there is one. */
  edited(message) {
    const content = this.#edits.get(message.id);
    return content === undefined || message.deletedAt ? message : { ...message, content };
  }

  /** Whether anything is lost with this page: what waits, and what was not taken. */
  get isUnsent() {
    return this.#edits.size + this.#removals.size > 0 || [...this.timelines.values()].some(({ isUnsent }) => isUnsent);
  }

  /** Messages, edits and deletions without their answer; a mark as read is nothing that anybody has written. */
  get waiting() {
    const queued = [...this.timelines.values()].flatMap(({ outgoing }) => [...outgoing.values()].filter(({ state }) => state === 'queued'));
    return this.#edits.size + this.#removals.size + queued.length;
  }

  #outgoing(outgoing) {
    const { state, clientMessageId, conversationId, message } = outgoing;
    const timeline = this.timeline(conversationId);
    if (state === 'queued') departed(clientMessageId);
    if (state === 'sent') {
      timeline.put(message);
    } else {
      timeline.outgoing.set(clientMessageId, { ...outgoing, at: timeline.outgoing.get(clientMessageId)?.at ?? new Date().toISOString() });
    }
    this.tell(conversationId);
    if (state === 'failed') for (const topic of ['conversations', 'refused']) this.tell(topic, outgoing);
  }
}
