// What has been read, told to the service in few marks: of a conversation one is under way at a time, and the next one has all that
// came meanwhile.

/** While somebody reads on, from the beginning of one mark of a conversation to that of the next one. */
const PAUSE_MS = 500;

export class Marks {
  /** By conversation: `{upTo, atOnce, underWay, begun, timer}`; `upTo` is undefined where nothing waits, `begun` is when the last one was told. */
  #all = new Map();

  /** `failed(error, conversationId)`: a mark was not taken, nor will one be that waited behind it. */
  constructor(chat, failed) {
    Object.assign(this, { chat, failed });
  }

  /** Whether anything is being marked, or is to be. */
  get some() {
    return [...this.#all.values()].some(({ upTo, underWay }) => underWay || upTo !== undefined);
  }

  /** `atOnce`: nothing is left to be read there, so that no other mark will follow soon. */
  mark(conversationId, upTo, atOnce) {
    const mark = this.#all.get(conversationId) ?? { underWay: 0, begun: -Infinity };
    this.#all.set(conversationId, mark);
    mark.upTo = Math.max(upTo, mark.upTo ?? 0);
    mark.atOnce = atOnce;
    this.#soon(conversationId, mark);
  }

  /**
   * Nobody looks any more, and soon this page may be gone: what waits is told beside what is under way. Either may come first, since what has been read
   * stays read.
   */
  flush() {
    for (const [conversationId, mark] of this.#all) {
      clearTimeout(mark.timer);
      if (mark.upTo !== undefined) this.#tell(conversationId, mark, (upTo) => this.#tellAtLast(conversationId, upTo));
    }
  }

  /** In a way that outlives the page, and the client. Where that fails, or there is no connection, it is a mark like any other: it waits, and is tried again. */
  #tellAtLast(conversationId, upTo) {
    const { chat } = this;
    const asUsual = () => chat.markRead(conversationId, upTo);
    return chat.status === 'online' ? chat.conversations.markRead(conversationId, upTo).catch(asUsual) : asUsual();
  }

  #soon(conversationId, mark) {
    clearTimeout(mark.timer);
    if (mark.underWay || mark.upTo === undefined) return;
    const wait = mark.atOnce ? 0 : mark.begun + PAUSE_MS - performance.now();
    if (wait > 0) mark.timer = setTimeout(() => this.#tell(conversationId, mark), wait);
    else this.#tell(conversationId, mark);
  }

  async #tell(conversationId, mark, send = (upTo) => this.chat.markRead(conversationId, upTo)) {
    const { upTo } = mark;
    Object.assign(mark, { upTo: undefined, underWay: mark.underWay + 1, begun: performance.now() });
    try {
      await send(upTo);
    } catch (error) {
      mark.upTo = undefined;
      this.failed(error, conversationId);
    }
    mark.underWay--;
    this.#soon(conversationId, mark);
  }
}
