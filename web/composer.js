// Where messages are written and edited.
import { h, icon, iconButton, isComposing } from './dom.js';
import { reason } from './failure.js';

const MOST_LINES_PX = 180;
/** MAX_MESSAGE_BYTES as it comes; a service with another limit refuses what is too long itself. */
const MAX_BYTES = 65_536;
/** A phone's Enter breaks the line: it has no Shift, and Send is under the thumb. */
const enterSends = matchMedia('(pointer: fine)');

export class Composer {
  #editing;
  /** Something is being written here, other than what was found here. */
  #touched = false;
  /** Edits that the service did not take, by conversation: `{message, content, reason}`. */
  #refused = new Map();

  /** `save` rejects where an edit is not taken. `draft(conversationId)`, `keep(conversationId, text)`: what is typed and not sent. */
  constructor({ send, save, typing, editLast, draft, keep }) {
    Object.assign(this, { send, save, typing, editLast, draft, keep });
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
    this.conversationId = conversationId;
    this.#showDraft();
    this.#reopen();
  }

  edit(message) {
    this.#editing = message;
    this.editBar.hidden = false;
    this.input.value = message.content;
    this.#changed(false);
    this.input.focus();
  }

  #showDraft() {
    this.#editing = undefined;
    this.#touched = false;
    this.editBar.hidden = true;
    this.input.value = this.conversationId ? this.draft(this.conversationId) : '';
    this.#changed(false);
  }

  #stopEditing() {
    this.#showDraft();
    this.input.focus();
  }

  #keep() {
    this.#touched = true;
    if (!this.#editing) this.keep(this.conversationId, this.input.value);
  }

  #cancel() {
    this.#stopEditing();
    this.#reopen();
  }

  /** What was not sent is to be written otherwise, before what stands here already. */
  takeBack(content) {
    if (this.#editing) this.#stopEditing();
    this.input.value = [content, this.input.value].filter(Boolean).join('\n');
    this.#keep();
    this.#changed(false);
    this.input.focus();
  }

  async #save(message, content) {
    const { conversationId } = this;
    try {
      await this.save(message, content);
    } catch (error) {
      this.#refused.set(conversationId, { message, content, reason: reason(error) });
      this.#reopen();
      if (this.#refused.has(this.conversationId)) this.#problem(`Not changed: ${reason(error)}`);
    }
  }

  /** An edit that failed, with what was typed, unless something else is being written. */
  #reopen() {
    const refused = this.#refused.get(this.conversationId);
    if (!refused || this.#editing || (this.#touched && this.input.value)) return;
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
      this.keep(this.conversationId, '');
      this.#showDraft();
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
    if (byHand) this.#keep();
    if (byHand && !this.#editing) this.typing(Boolean(this.input.value));
  }
}
