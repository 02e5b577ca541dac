// Who types: in which conversations the other participant does, and what is told of oneself.

/** Which part of the time that it lasts passes until one's own is told again: a renewal may be slow, and is to come before it has ended. */
const RENEWED_AFTER = 5 / 12;

export class Typing {
  /** When it was told last that one types oneself, and where; 0: one does not. */
  #told = 0;
  #where;
  #lastsMs;
  /** Conversations, with the timer that ends it. */
  #typists = new Map();

  /** `changed`: somebody has begun, or ended; `seconds`: how long it lasts since it was heard last. */
  constructor(chat, changed, seconds) {
    Object.assign(this, { chat, changed });
    this.lasts(seconds);
  }

  /** What is shown by now ends when it was to end. */
  lasts(seconds) {
    this.#lastsMs = seconds * 1_000;
  }

  has(conversationId) {
    return this.#typists.has(conversationId);
  }

  heard(conversationId, isTyping) {
    clearTimeout(this.#typists.get(conversationId));
    if (isTyping) this.#typists.set(conversationId, setTimeout(() => this.heard(conversationId, false), this.#lastsMs));
    else if (!this.#typists.delete(conversationId)) return;
    this.changed(conversationId);
  }

  /** That one has stopped is told where one began, wherever one is by then. */
  tell(conversationId, isTyping) {
    if (isTyping && this.#where === conversationId && Date.now() - this.#told < this.#lastsMs * RENEWED_AFTER) return;
    if (!isTyping && !this.#told) return;
    this.#told = isTyping ? Date.now() : 0;
    if (isTyping) this.#where = conversationId;
    this.chat.typing(this.#where, isTyping);
  }

  close() {
    for (const timer of this.#typists.values()) clearTimeout(timer);
  }
}
