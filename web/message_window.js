// Which of a timeline's messages are in the document: a window of them, which is moved as one comes near its ends.

/** So many more are shown at a time. */
export const STEP = 60;
/** So many are in the document at most. */
export const MOST = 220;

export class MessageWindow {
  /** Index of the first one in the timeline's messages. */
  first = 0;
  #end = 0; // past the last one shown; Infinity: whatever comes
  #oldest; // the seq of the first message that is loaded
  #edition; // of the timeline's stretch that the indexes are of

  /** Another part of `timeline` is shown from now on. */
  show(timeline, first, end = Infinity) {
    this.timeline = timeline;
    this.first = Math.max(0, first);
    this.#end = end;
    this.#edition = timeline.edition;
    this.#oldest = timeline.messages[0]?.seq;
  }

  /** Index past the last one. */
  get end() {
    return Math.min(this.#end, this.timeline.messages.length);
  }

  /** There is nothing newer than what is shown. */
  get isAtEnd() {
    return this.end === this.timeline.messages.length && !this.timeline.hasNewer;
  }

  get messages() {
    return this.timeline.messages.slice(this.first, this.end);
  }

  /** The message before the first one; undefined where there is none. */
  get before() {
    return this.timeline.messages[this.first - 1];
  }

  /** Keeps the window on what was shown, `looked` at where that is not the end, when the messages under its indexes have changed. */
  aim(looked, isPinned) {
    const { messages, hasNewer, edition } = this.timeline;
    const oldest = messages[0]?.seq;
    if (edition !== this.#edition) {
      // Read anew: the indexes are of a stretch that is gone.
      const at = looked === undefined ? messages.length : messages.findLastIndex(({ seq }) => seq <= looked);
      this.first = Math.max(0, at - STEP);
      this.#end = at + STEP < messages.length || hasNewer ? at + STEP : Infinity;
    } else if (this.#oldest !== undefined && oldest !== this.#oldest) {
      // Pages that came in before the first message move the indexes.
      const moved = messages.findIndex(({ seq }) => seq === this.#oldest);
      if (moved > 0) {
        // Those that were waited for are shown at once: at the very top there is no room to keep anything in its place.
        this.first = this.first === 0 ? Math.max(0, moved - STEP) : this.first + moved;
        this.#end += moved;
      }
    }
    this.#edition = edition;
    this.#oldest = oldest;
    // What arrives while nobody scrolls does not pile up in the document, either.
    if (this.end - this.first > MOST) {
      if (isPinned) this.first = messages.length - STEP;
      else this.#end = this.first + MOST;
    }
  }

  /** So many messages more, older ones where `by` is negative; it does not grow without end. */
  move(by) {
    const { length } = this.timeline.messages;
    let { end } = this;
    if (by < 0) {
      this.first = Math.max(0, this.first + by);
      if (end - this.first > MOST) this.#end = this.first + MOST;
    } else {
      end = Math.min(length, end + by);
      this.#end = end === length && !this.timeline.hasNewer ? Infinity : end;
      this.first = Math.max(this.first, end - MOST);
    }
  }
}
