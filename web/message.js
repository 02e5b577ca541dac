// One message of a thread, and the lines between messages. An element is made once and then kept up to date.
import { cutAt, firstWords, fullName, h, icon, iconButton, linked, say } from './dom.js';
import { mayBeTaken, reason } from './failure.js';
import { fullTime, isoDay, language, timeOf } from './time.js';

const STATES = {
  queued: ['clock', 'waiting to be sent'],
  sent: ['check', 'sent'],
  read: ['checks', 'read'],
  failed: ['warn', 'not sent'],
};

/** A text that is longer is folded: the first of it is shown, and a button for the rest. */
const LONG = { characters: 1_600, lines: 36 };
const FOLDED = { characters: 1_000, lines: 24 };

/** Where a folded text ends; its length, where it is short enough to stand there as a whole. */
function foldAt(text) {
  const lines = text.split('\n', LONG.lines + 1);
  if (text.length <= LONG.characters && lines.length <= LONG.lines) return text.length;
  const end = Math.min(FOLDED.characters, lines.slice(0, FOLDED.lines).join('\n').length);
  // Between words, where there are any.
  const from = Math.max(0, end - 200);
  const space = text.slice(from, end + 1).search(/\s\S*$/);
  if (space >= 0) return from + space;
  return cutAt(text, end);
}

/** Whether what is shown of a text that nobody has unfolded reaches so far. */
export const reaches = (text, end) => end <= foldAt(text);

/** `item`: `{message, state, mine, joined, latency, editing, unfolded}`; `state` is one of STATES for one's own. */
export function messageElement(actions) {
  const who = h('span.unseen'); // which is seen by the side that it stands on
  const text = h('p.content');
  const note = h('span.latency');
  const edited = h('span', {}, 'edited');
  const time = h('time', { lang: language });
  const mark = h('span.mark');
  const unfold = h('button.unfold', {
    type: 'button', hidden: true,
    onclick: (event) => {
      event.stopPropagation(); // or it would choose the message, too
      actions.unfold(element);
    },
  });
  const foot = h('span.foot', {}, note, edited, time, mark);
  const tools = h('span.message-tools');
  const edit = iconButton('edit', 'Edit message', { onclick: () => actions.edit(element.message) });
  const remove = iconButton('trash', 'Delete message', { onclick: () => actions.remove(element.message) });
  const bubble = h('div.bubble', { dir: 'auto', onclick: () => element.classList.toggle('chosen') }, text, unfold, foot);
  const failure = h('div.failure');
  const element = h('li.message', {}, h('div.line', {}, who, bubble, tools), failure);
  let given = [];
  let shown;
  let written; // what of which text stands there

  element.update = (item) => {
    const { message, state, mine, joined, latency, error, found, editing, unfolded } = item;
    // Nobody changes a message, or what is known of it: there is another one instead.
    const now = [message, state, mine, joined, latency, error, found, editing, unfolded];
    if (now.every((value, at) => value === given[at])) return;
    given = now;
    const signature = [message.id, message.updatedAt, message.content, state, mine, joined, latency?.ms, error?.code, found, editing, unfolded].join('|');
    if (signature === shown) return;
    shown = signature;
    const deleted = Boolean(message.deletedAt);
    element.className = ['message', mine ? 'mine' : 'theirs', joined && 'joined', deleted && 'deleted', state, found && 'found', editing && 'editing'].filter(Boolean).join(' ');
    who.textContent = mine ? 'You: ' : `${fullName(message.sender)}: `;
    const content = deleted ? 'This message was deleted' : message.content;
    const end = deleted ? content.length : foldAt(content);
    const upTo = unfolded ? content.length : end;
    // What has the focus is not made anew, only because the message has been read meanwhile.
    if (written?.content !== content || written.upTo !== upTo) text.replaceChildren(...linked(content, upTo));
    written = { content, upTo };
    text.classList.toggle('folded', upTo < content.length);
    unfold.hidden = end === content.length;
    unfold.setAttribute('aria-expanded', String(Boolean(unfolded)));
    say(unfold, unfolded ? 'Show less' : 'Show all');
    time.textContent = timeOf(message.createdAt);
    time.dateTime = message.createdAt;
    time.title = fullTime(message.createdAt);
    edited.hidden = deleted || !message.editedAt;
    note.hidden = !latency;
    if (latency) {
      note.textContent = `${latency.exact ? '' : '≈'}${latency.ms < 10 ? latency.ms.toFixed(1) : Math.round(latency.ms)} ms`;
      note.title = latency.exact ? 'From sending it to its arrival here' : 'From its commit to its arrival here, by two clocks';
    }
    mark.replaceChildren();
    if (mine && !deleted) {
      const [name, label] = STATES[state];
      mark.append(icon(name), h('span.unseen', {}, label));
      mark.title = label;
    }
    // An image or a file is named by an address: there is nothing to mend in it.
    const offered = !mine || deleted || !message.id ? 0 : message.messageType === 'text' ? 2 : 1;
    if (tools.childElementCount !== offered) {
      tools.replaceChildren(...[edit, remove].slice(2 - offered));
    }
    const offer = (label, action) => h('button.button.compact', { type: 'button', onclick: () => action(element.message) }, label);
    failure.replaceChildren(...(state === 'failed' ? [
      h('span', {}, `Not sent: ${error ? reason(error) : 'unknown reason'}`),
      h('div.offers', {},
        // What is refused for good can be written otherwise, and that is all.
        ...(!error || mayBeTaken(error) ? [offer('Try again', actions.again)] : []),
        offer('Edit', actions.takeBack),
        offer('Discard', actions.discard)),
    ] : []));
    // Each message has these: in a list of buttons, as a screen reader gives one, they say which message they are of.
    for (const button of [edit, remove, unfold, ...failure.querySelectorAll('button')]) {
      button.setAttribute('aria-label', `${button.title || button.textContent}: ${firstWords(content)}`);
    }
    element.message = message;
  };
  return element;
}

/** Its text is another one when the day is over. */
export const dayDivider = (when) => h('li.divider.day', {}, h('time', { lang: language, datetime: isoDay(when) }));

export const newDivider = () => h('li.divider.new', {}, h('span', { role: 'separator', 'aria-label': 'New messages' }, 'New messages'));
