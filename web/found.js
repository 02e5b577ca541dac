// Where in a message that a search led to the words are: its snippet says it, which is a part of the content.

/** The marks of all panes; a browser that has no such thing shows the message without. */
const marks = globalThis.Highlight && CSS.highlights ? new Highlight() : undefined;
if (marks) CSS.highlights.set('found', marks);

/** What the service puts between two parts of a content (chat_search_snippet). */
const BETWEEN = ' … ';

/** Where the first match of `snippet`, [{text, match}], begins and ends in `content`; undefined where it is not, since an edit. */
export function placeOf(content, snippet) {
  const at = snippet.findIndex(({ match }) => match);
  if (at < 0) return undefined;
  const word = snippet[at].text;
  const before = snippet.slice(0, at).map(({ text }) => text).join('').split(BETWEEN).at(-1);
  const after = snippet.slice(at + 1).map(({ text }) => text).join('').split(BETWEEN)[0];
  const whole = content.indexOf(before + word + after);
  const start = whole < 0 ? content.indexOf(word) : whole + before.length;
  return start < 0 ? undefined : { start, end: start + word.length };
}

/** Marks that place of the text in `element`; the Range of it, for unmark(). Undefined where less of the text is there. */
export function mark(element, { start, end }) {
  const range = document.createRange();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let passed = 0;
  let begun = false;
  while (walker.nextNode()) {
    const { length } = walker.currentNode;
    if (!begun && start < passed + length) {
      range.setStart(walker.currentNode, start - passed);
      begun = true;
    }
    if (begun && end <= passed + length) {
      range.setEnd(walker.currentNode, end - passed);
      marks?.add(range);
      return range;
    }
    passed += length;
  }
  return undefined;
}

export function unmark(range) {
  if (range) marks?.delete(range);
}
