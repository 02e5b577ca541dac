// The frames of a pane's socket as they fly.
import { beginning, h, iconButton } from './dom.js';
import { soon } from './draw.js';
import { exactTime, language } from './time.js';

const KEPT = 200;

export class Frames {
  #all = [];
  /** How many of them are not drawn yet. */
  #fresh = 0;
  #draw = () => this.#render();
  /** Commands without their answer, by `requestId`: an answer names no more. */
  #asked = new Map();

  constructor(model, close) {
    this.list = h('ol.frames', { tabindex: '0', 'aria-label': 'Frames, newest first' });
    this.count = h('span.quiet.small');
    this.element = h('section.tool', { 'aria-label': 'Frames' },
      h('div.tool-head', {}, h('h3', {}, 'Frames'), this.count, iconButton('trash', 'Forget these frames', { onclick: () => this.#clear() }), iconButton('close', 'Close the frames', { onclick: close })), this.list);
    this.element.hidden = true;
    this.total = 0;
    model.on('frame', (frame) => this.#add(frame));
  }

  toggle(open = this.element.hidden) {
    this.element.hidden = !open;
    if (open) this.#renderAll();
  }

  #clear() {
    this.#all = [];
    this.#renderAll();
  }

  #renderAll() {
    this.#fresh = 0;
    this.list.replaceChildren(...this.#all.map(row).reverse());
  }

  #add(frame) {
    const { requestId = frame.frame.data?.requestId } = frame.frame;
    if (frame.frame.type === 'connected') this.#asked.clear(); // nobody answers those of the last connection
    if (frame.direction === 'out') this.#asked.set(requestId, frame.frame.type);
    else if (this.#asked.has(requestId)) {
      frame = { ...frame, answers: this.#asked.get(requestId) };
      this.#asked.delete(requestId);
    }
    this.total++;
    this.#all.push(frame);
    if (this.#all.length > KEPT) this.#all.shift();
    this.#fresh++;
    soon(this.#draw);
  }

  #render() {
    this.count.textContent = `${this.total} so far`;
    if (!this.element.hidden && this.#fresh) {
      this.list.prepend(...this.#all.slice(-this.#fresh).map(row).reverse());
      while (this.list.childElementCount > KEPT) this.list.lastElementChild.remove();
    }
    this.#fresh = 0;
  }
}

function row({ direction, frame, at, answers }) {
  const body = h('pre', { tabindex: '0' });
  const details = h('details', {
    ontoggle: () => {
      if (details.open) body.textContent = JSON.stringify(frame, null, 2);
    },
  }, h('summary', {},
    h(`span.direction.${direction}`, { title: direction === 'in' ? 'from the service' : 'to the service' }, direction === 'in' ? '↓' : '↑', h('span.unseen', {}, direction)),
    h('span.frame-type', {}, frame.type), h('span.quiet.gist', {}, [answers, gist(frame)].filter(Boolean).join(' ')), h('time.quiet', { datetime: new Date(at).toISOString(), lang: language }, exactTime(at))), body);
  return h('li', {}, details);
}

function gist({ data = {} }) {
  const { content } = data.message ?? data;
  if (content !== undefined) return beginning(content);
  if (data.code) return data.code;
  if (data.upToSeq) return `up to ${data.upToSeq}`;
  if (data.isTyping !== undefined) return data.isTyping ? 'typing' : 'stopped';
  if (data.isOnline !== undefined) return data.isOnline ? 'online' : 'offline';
  if (data.replicaId) return `replica ${data.replicaId.slice(-6)}`;
  return '';
}
