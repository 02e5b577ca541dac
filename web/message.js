// One message of a thread, and the lines between messages. An element is made once and then kept up to date.
import { fullName, h, icon, iconButton, linked } from './dom.js';
import { fullTime, timeOf } from './time.js';

const STATES = {
  queued: ['clock', 'waiting to be sent'],
  sent: ['check', 'sent'],
  read: ['checks', 'read'],
  failed: ['warn', 'not sent'],
};

/** `item`: `{message, state, mine, joined, latency}`; `state` is one of STATES for one's own. */
export function messageElement(actions) {
  const who = h('span.unseen'); // which is seen by the side that it stands on
  const text = h('p.content');
  const note = h('span.latency');
  const edited = h('span', {}, 'edited');
  const time = h('time');
  const mark = h('span.mark');
  const foot = h('span.foot', {}, note, edited, time, mark);
  const tools = h('span.message-tools');
  const bubble = h('div.bubble', { dir: 'auto', onclick: () => element.classList.toggle('chosen') }, text, foot);
  const failure = h('div.failure');
  const element = h('li.message', {}, h('div.line', {}, who, bubble, tools), failure);
  let given = [];
  let shown;

  element.update = (item) => {
    const { message, state, mine, joined, latency, error, found } = item;
    // Nobody changes a message, or what is known of it: there is another one instead.
    const now = [message, state, mine, joined, latency, error, found];
    if (now.every((value, at) => value === given[at])) return;
    given = now;
    const signature = [message.id, message.updatedAt, message.content, state, mine, joined, latency?.ms, error?.code, found].join('|');
    if (signature === shown) return;
    shown = signature;
    const deleted = Boolean(message.deletedAt);
    element.className = ['message', mine ? 'mine' : 'theirs', joined && 'joined', deleted && 'deleted', state, found && 'found'].filter(Boolean).join(' ');
    who.textContent = mine ? 'You: ' : `${fullName(message.sender)}: `;
    const content = deleted ? 'This message was deleted' : message.content;
    // What has the focus is not made anew, only because the message has been read meanwhile.
    if (text.textContent !== content) text.replaceChildren(...linked(content));
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
      tools.replaceChildren(...[
        iconButton('edit', 'Edit message', { onclick: () => actions.edit(element.message) }),
        iconButton('trash', 'Delete message', { onclick: () => actions.remove(element.message) }),
      ].slice(2 - offered));
    }
    failure.replaceChildren(...(state === 'failed' ? [
      h('span', {}, `Not sent: ${error?.message ?? 'unknown reason'}`),
      h('button.button.compact', { type: 'button', onclick: () => actions.again(element.message) }, 'Try again'),
      h('button.button.compact', { type: 'button', onclick: () => actions.takeBack(element.message) }, 'Edit'),
      h('button.button.compact', { type: 'button', onclick: () => actions.discard(element.message) }, 'Discard'),
    ] : []));
    element.message = message;
  };
  return element;
}

export function divider(kind, text = '') {
  return h(`li.divider.${kind}`, {}, h('span', {}, text));
}
