// Where messages are written and edited.
import { h, icon, iconButton, isComposing } from './dom.js';

const MOST_LINES_PX = 180;
/** MAX_MESSAGE_BYTES as it comes; a service with another limit refuses what is too long itself. */
const MAX_BYTES = 65_536;
/** A phone's Enter breaks the line: it has no Shift, and Send is under the thumb. */
const enterSends = matchMedia('(pointer: fine)');

export class Composer {
  #drafts = new Map();
  #editing;
  /** Edits that the service did not take, by conversation: `{message, content, reason}`. */
  #refused = new Map();

  /** `save` rejects where an edit is not taken. */
  constructor({ send, save, typing, editLast }) {
    Object.assign(this, { send, save, typing, editLast });
    this.input = h('textarea.field', {
      rows: '1', placeholder: 'Write a message', 'aria-label': 'Message', enterkeyhint: enterSends.matches ? 'send' : 'enter', dir: 'auto',
      oninput: () => this.#changed(), onkeydown: (event) => this.#key(event), onblur: () => this.typing(false),
    });
    this.button = h('button.send', { type: 'submit', 'aria-label': 'Send', title: 'Send (Enter)', onmousedown: (event) => event.preventDefault() /* the keyboard of a phone stays */ }, icon('send'));
    this.notice = h('p.small.problem', { role: 'alert', hidden: true });
    this.editBar = h('div.edit-bar', { hidden: true }, icon('edit'), h('span', {}, 'Editing your message'), iconButton('close', 'Stop editing', { onclick: () => this.#cancel() }));
    const submit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.element = h('form.composer', { onsubmit: submit }, this.editBar, this.notice, h('div.compose-line', {}, this.input, this.button));
  }

  /** Without an id: none is open. */
  show(conversationId) {
    if (this.conversationId && !this.#editing) this.#drafts.set(this.conversationId, this.input.value);
    this.conversationId = conversationId;
    this.#editing = undefined;
    this.editBar.hidden = true;
    this.input.value = this.#drafts.get(conversationId) ?? '';
    this.#changed(false);
    this.#reopen();
  }

  edit(message) {
    if (!this.#editing) this.#drafts.set(this.conversationId, this.input.value);
    this.#editing = message;
    this.editBar.hidden = false;
    this.input.value = message.content;
    this.#changed(false);
    this.input.focus();
  }

  #stopEditing() {
    this.#editing = undefined;
    this.editBar.hidden = true;
    this.input.value = this.#drafts.get(this.conversationId) ?? '';
    this.#changed(false);
    this.input.focus();
  }

  #cancel() {
    this.#stopEditing();
    this.#reopen();
  }

  /** What was not sent is to be written otherwise, before what stands here already. */
  takeBack(content) {
    if (this.#editing) this.#stopEditing();
    this.input.value = [content, this.input.value].filter(Boolean).join('\n');
    this.#changed(false);
    this.input.focus();
  }

  async #save(message, content) {
    const { conversationId } = this;
    try {
      await this.save(message, content);
    } catch (error) {
      this.#refused.set(conversationId, { message, content, reason: error.message });
      this.#reopen();
      if (this.#refused.has(this.conversationId)) this.#problem(`Not changed: ${error.message}`);
    }
  }

  /** An edit that failed, with what was typed, unless something else is being written. */
  #reopen() {
    const refused = this.#refused.get(this.conversationId);
    const { value } = this.input;
    if (!refused || this.#editing || (value && value !== this.#drafts.get(this.conversationId))) return;
    this.#refused.delete(this.conversationId);
    const { activeElement } = document;
    this.edit(refused.message);
    // Whoever is busy elsewhere stays there.
    if (activeElement !== document.body) activeElement.focus({ preventScroll: true });
    this.input.value = refused.content;
    this.#changed(false);
    this.#problem(`Not changed: ${refused.reason}`);
  }

  #key(event) {
    if (isComposing(event)) return;
    if (event.key === 'Enter' && !event.shiftKey && (enterSends.matches || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === 'Escape' && this.#editing) {
      event.stopPropagation();
      this.#cancel();
    } else if (event.key === 'ArrowUp' && !this.input.value) {
      event.preventDefault();
      this.editLast();
    }
  }

  #submit() {
    const content = this.input.value.trim();
    if (!content || this.#tooLong()) return;
    const editing = this.#editing;
    if (editing) {
      this.#stopEditing();
      if (content !== editing.content) this.#save(editing, content);
    } else {
      this.input.value = '';
      this.#drafts.delete(this.conversationId);
      this.#changed(false);
      this.typing(false);
      this.send(content);
    }
    this.#reopen();
  }

  #tooLong() {
    const { value } = this.input;
    return value.length * 3 > MAX_BYTES && new TextEncoder().encode(value.trim()).length > MAX_BYTES;
  }

  #problem(text) {
    this.notice.hidden = !text;
    this.notice.textContent = text;
  }

  #changed(byHand = true) {
    const tooLong = this.#tooLong();
    this.#problem(tooLong ? 'This is longer than a message can be (65,536 bytes).' : '');
    this.button.disabled = !this.input.value.trim() || tooLong;
    this.input.style.height = 'auto';
    this.input.style.height = `${Math.min(this.input.scrollHeight + 2, MOST_LINES_PX)}px`;
    if (byHand && !this.#editing) this.typing(Boolean(this.input.value));
  }
}
