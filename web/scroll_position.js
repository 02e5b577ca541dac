// Where one is in what scrolls: at its end, which then stays in sight, or elsewhere, and then what one looks at stays in its place.

const NEAR_END_PX = 48;
/** What is seen above what is brought to the top. */
const ABOVE_PX = 8;

export class ScrollPosition {
  /** At the end, as far as is known; `isPinned()` looks whether it still is so. */
  pinned = false;
  #top = 0; // as it was last seen: somebody may have scrolled of whom no event has told yet

  constructor(scroller) {
    this.scroller = scroller;
  }

  /** Something else is shown: nobody has scrolled in it. */
  forget() {
    this.#top = 0;
  }

  isPinned() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    // Where the window has grown, the end itself has moved up.
    if (scrollTop < Math.min(this.#top, scrollHeight - clientHeight) - NEAR_END_PX) this.pinned = false;
    return this.pinned;
  }

  /** Whoever is at the end stays there, when room has been taken from what is shown or given back. */
  follow() {
    if (this.isPinned()) this.toBottom();
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#top = this.scroller.scrollTop;
  }

  /** The first of `elements` with a message that can be seen, and where, for hold(). */
  anchor(elements) {
    const top = this.scroller.getBoundingClientRect().top;
    for (const element of elements) {
      const rectangle = element.getBoundingClientRect();
      if (rectangle.bottom > top && element.message) return { element, offset: rectangle.top };
    }
    return undefined;
  }

  /** From which to which `seq` the messages of `elements` are in sight, of the last one its end; undefined where none is. */
  seen(elements) {
    const { bottom } = this.scroller.getBoundingClientRect();
    const from = this.anchor(elements)?.element.message.seq;
    const isSeen = (element) => element.message?.seq && element.getBoundingClientRect().bottom <= bottom + 1;
    const to = [...elements].findLast(isSeen)?.message.seq;
    return from && to && { from, to };
  }

  /** Puts the anchor back to where it was. */
  hold({ element, offset }) {
    if (!element.isConnected) return;
    const { scrollTop } = this.scroller;
    this.scroller.scrollTop += element.getBoundingClientRect().top - offset;
    this.#top += this.scroller.scrollTop - scrollTop; // nobody has scrolled
  }

  /** `target`: an element, or a Range. */
  center(target) {
    const [inner, outer] = [target, this.scroller].map((it) => it.getBoundingClientRect());
    this.scroller.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  }

  /** An element that begins above what can be seen goes to the top. Whether it did. */
  lowerToTop(element) {
    const { scroller } = this;
    const above = scroller.getBoundingClientRect().top - element.getBoundingClientRect().top;
    if (above <= 0) return false;
    this.pinned = false;
    scroller.scrollTop -= above + ABOVE_PX;
    this.#top = scroller.scrollTop;
    return true;
  }

  /** After a scroll event: whether it was up. */
  moved() {
    const { scrollTop } = this.scroller;
    const up = scrollTop < this.#top - 1;
    this.#top = scrollTop;
    return up;
  }

  /** Whoever has scrolled to the end stays there from now on. `isEndShown`: there is nothing below what is shown. Whether they have come there now. */
  settle(isEndShown, up) {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const wasPinned = this.pinned;
    // Where nobody scrolled up, it was the end that went down: room was taken from below since this event came up.
    this.pinned = isEndShown && (scrollHeight - clientHeight - scrollTop < NEAR_END_PX || (wasPinned && !up));
    return this.pinned && !wasPinned;
  }
}
