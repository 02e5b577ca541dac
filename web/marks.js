// What has been read, told to the service in few marks: of a conversation one is under way at a time, and the next one has all that
// came meanwhile.

/** While somebody reads on, from the beginning of one mark of a conversation to that of the next one. */
const PAUSE_MS = 500;

export class Marks {
  /** By conversation: `{upTo, atOnce, isUnderWay, begun, timer}`; `upTo` is undefined where nothing waits, `begun` is when the last one was told. */
  #all = new Map();

  /** `failed(error, conversationId)`: a mark was not taken, nor will one be that waited behind it. */
  constructor(chat, failed) {
    Object.assign(this, { chat, failed });
  }

  /** Whether anything is being marked, or is to be. */
  get some() {
    return [...this.#all.values()].some(({ upTo, isUnderWay }) => isUnderWay || upTo !== undefined);
  }

  /** `atOnce`: nothing is left to be read there, so that no other mark will follow soon. */
  mark(conversationId, upTo, atOnce) {
    const mark = this.#all.get(conversationId) ?? { begun: -Infinity };
    this.#all.set(conversationId, mark);
    mark.upTo = Math.max(upTo, mark.upTo ?? 0);
    mark.atOnce = atOnce;
    this.#soon(conversationId, mark);
  }

  /** Nobody looks any more: what waits for its pause is told. */
  flush() {
    for (const [conversationId, mark] of this.#all) {
      mark.atOnce = true;
      this.#soon(conversationId, mark);
    }
  }

  #soon(conversationId, mark) {
    clearTimeout(mark.timer);
    if (mark.isUnderWay || mark.upTo === undefined) return;
    const wait = mark.atOnce ? 0 : mark.begun + PAUSE_MS - performance.now();
    if (wait > 0) mark.timer = setTimeout(() => this.#tell(conversationId, mark), wait);
    else this.#tell(conversationId, mark);
  }

  async #tell(conversationId, mark) {
    const { upTo } = mark;
    Object.assign(mark, { upTo: undefined, isUnderWay: true, begun: performance.now() });
    try {
      await this.chat.markRead(conversationId, upTo);
    } catch (error) {
      mark.upTo = undefined;
      this.failed(error, conversationId);
    }
    mark.isUnderWay = false;
    this.#soon(conversationId, mark);
  }
}
