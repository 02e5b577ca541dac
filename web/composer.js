// Where messages are written and edited.
import { h, icon, iconButton } from './dom.js';

const MOST_LINES_PX = 180;
/** MAX_MESSAGE_BYTES as it comes; a service with another limit refuses what is too long itself. */
const MAX_BYTES = 65_536;

export class Composer {
  #drafts = new Map();
  #editing;

  constructor({ send, save, typing, editLast }) {
    Object.assign(this, { send, save, typing, editLast });
    this.input = h('textarea.field', {
      rows: '1', placeholder: 'Write a message', 'aria-label': 'Message', enterkeyhint: 'send', dir: 'auto',
      oninput: () => this.#changed(), onkeydown: (event) => this.#key(event), onblur: () => this.typing(false),
    });
    this.button = h('button.send', { type: 'submit', 'aria-label': 'Send', title: 'Send (Enter)' }, icon('send'));
    this.notice = h('p.small.problem', { role: 'alert', hidden: true });
    this.editBar = h('div.edit-bar', { hidden: true }, icon('edit'), h('span', {}, 'Editing your message'), iconButton('close', 'Stop editing', { onclick: () => this.#stopEditing() }));
    const submit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.element = h('form.composer', { onsubmit: submit }, this.editBar, this.notice, h('div.compose-line', {}, this.input, this.button));
  }

  show(conversationId) {
    if (this.conversationId) this.#drafts.set(this.conversationId, this.#editing ? '' : this.input.value);
    this.conversationId = conversationId;
    this.#editing = undefined;
    this.editBar.hidden = true;
    this.input.value = this.#drafts.get(conversationId) ?? '';
    this.#changed(false);
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

  #key(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === 'Escape' && this.#editing) {
      event.stopPropagation();
      this.#stopEditing();
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
      if (content !== editing.content) this.save(editing, content);
      return;
    }
    this.input.value = '';
    this.#changed(false);
    this.typing(false);
    this.send(content);
  }

  #tooLong() {
    const { value } = this.input;
    return value.length * 3 > MAX_BYTES && new TextEncoder().encode(value.trim()).length > MAX_BYTES;
  }

  #changed(byHand = true) {
    const tooLong = this.#tooLong();
    this.notice.hidden = !tooLong;
    this.notice.textContent = tooLong ? 'This is longer than a message can be (65,536 bytes).' : '';
    this.button.disabled = !this.input.value.trim() || tooLong;
    this.input.style.height = 'auto';
    this.input.style.height = `${Math.min(this.input.scrollHeight + 2, MOST_LINES_PX)}px`;
    if (byHand && !this.#editing) this.typing(Boolean(this.input.value));
  }
}
