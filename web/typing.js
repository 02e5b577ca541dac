// Who types: in which conversations the other participant does, and what is told of oneself.

/** Since it was heard last. */
const SHOWN_MS = 6_000;
const REPEATED_MS = 2_500;

export class Typing {
  /** When it was told last that one types oneself, and where; 0: one does not. */
  #told = 0;
  #where;
  /** Conversations, with the timer that ends it. */
  #typists = new Map();

  /** `changed`: somebody has begun, or ended. */
  constructor(chat, changed) {
    Object.assign(this, { chat, changed });
  }

  has(conversationId) {
    return this.#typists.has(conversationId);
  }

  heard(conversationId, isTyping) {
    clearTimeout(this.#typists.get(conversationId));
    if (isTyping) this.#typists.set(conversationId, setTimeout(() => this.heard(conversationId, false), SHOWN_MS));
    else if (!this.#typists.delete(conversationId)) return;
    this.changed(conversationId);
  }

  /** That one has stopped is told where one began, wherever one is by then. */
  tell(conversationId, isTyping) {
    if (isTyping && this.#where === conversationId && Date.now() - this.#told < REPEATED_MS) return;
    if (!isTyping && !this.#told) return;
    this.#told = isTyping ? Date.now() : 0;
    if (isTyping) this.#where = conversationId;
    this.chat.typing(this.#where, isTyping);
  }

  close() {
    for (const timer of this.#typists.values()) clearTimeout(timer);
  }
}
