// Where messages are written and edited.
import { beginning, firstWords, h, icon, iconButton, isComposing, isInvisible, say } from './dom.js';
import { reason } from './failure.js';

const MOST_LINES_PX = 180;
/** The message is gone; to who has a token the service does not say so of one that was deleted outright. */
const GONE = ['message_not_found', 'not_a_participant'];
/** A phone's Enter breaks the line: it has no Shift, and Send is under the thumb. */
const enterSends = matchMedia('(pointer: fine)');

export class Composer {
  /** The message that is being edited; where it was edited before this page was there, no more of it is known than which it is. */
  #editing;
  /** Something is being written here, other than what was found here. */
  #touched = false;
  /** Edits that the service did not take, by conversation: `{message, content, reason}`. */
  #refused = new Map();
  /** Of UTF-8, in a message. */
  #maxBytes;

  /**
   * `save` rejects where an edit is not taken. `edits(message)`: it is being edited; without one, none is. `draft(conversationId)`,
   * `keep(conversationId, text)`, `editDraft(conversationId)`, `keepEdit(conversationId, edit)`: what is typed and not sent.
   * `maxBytes`: see `limit`.
   */
  constructor({ send, save, typing, editLast, edits, fitted, draft, keep, editDraft, keepEdit, maxBytes }) {
    this.#maxBytes = maxBytes;
    Object.assign(this, { send, save, typing, editLast, edits, fitted, draft, keep, editDraft, keepEdit });
    this.input = h('textarea.field', {
      rows: '1', placeholder: 'Write a message', 'aria-label': 'Message', enterkeyhint: enterSends.matches ? 'send' : 'enter', dir: 'auto',
      oninput: () => this.#changed(), onkeydown: (event) => this.#key(event), onblur: () => this.typing(false),
    });
    this.button = h('button.send', { type: 'submit', 'aria-label': 'Send', title: 'Send (Enter)', onmousedown: (event) => event.preventDefault() /* the keyboard of a phone stays */ }, icon('send'));
    this.notice = h('p.small.problem', { role: 'alert', hidden: true });
    this.original = h('span.excerpt', { dir: 'auto' });
    this.editBar = h('div.edit-bar', { hidden: true }, icon('edit'), h('span.row-text', {}, h('span', {}, 'Editing your message'), this.original), iconButton('close', 'Stop editing', { onclick: () => this.#cancel() }));
    const submit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.element = h('form.composer', { onsubmit: submit }, this.editBar, this.notice, h('div.compose-line', {}, this.input, this.button));
  }

  /** Without an id: none is open. */
  show(conversationId) {
    this.typing(false);
    this.conversationId = conversationId;
    this.#showDraft();
    const { text, ...message } = (conversationId && this.editDraft(conversationId)) || {};
    if (message.id) this.#edit({ ...message, conversationId }, text);
    this.#reopen();
  }

  /** So many bytes the service takes. What stands here already may be too long now, or no longer. */
  limit(maxBytes) {
    const was = this.#tooLong();
    this.#maxBytes = maxBytes;
    if (was || this.#tooLong()) this.#changed(false);
  }

  edit(message) {
    this.#edit(message, message.content);
    this.input.focus();
  }

  /** Of the message that is being edited; undefined where none is. */
  get editing() {
    return this.#editing;
  }

  #edit(message, text) {
    this.#now(message);
    this.input.value = text;
    this.#changed(false);
  }

  #now(message) {
    this.#editing = message;
    this.editBar.hidden = !message;
    say(this.original, beginning(message?.content ?? ''));
    // Who does not see the bar above hears it: the name of what has the focus is read out when it changes.
    this.input.setAttribute('aria-label', message ? ['Edit message', firstWords(message.content ?? '')].filter(Boolean).join(': ') : 'Message');
    this.edits(message);
  }

  /** A message is another one now. Nobody can go on editing one that is deleted: what was typed is there for who wants it. */
  changed(message) {
    if (message.id !== this.#editing?.id) return;
    if (!message.deletedAt) return this.#now(message);
    const { content } = this.#editing;
    const { value } = this.input;
    const held = this.element.contains(document.activeElement);
    this.#end(...this.#deleted(value === content ? '' : value));
    if (held) this.input.focus();
  }

  /** What is to be said of it; `text`: what it was to say itself. */
  #deleted(text) {
    return ['The message that you were editing was deleted.', !isInvisible(text) && h('button.button.compact', { type: 'button', onclick: () => this.takeBack(text) }, 'Keep what I wrote')].filter(Boolean);
  }

  #showDraft(...said) {
    this.#now(undefined);
    this.#touched = false;
    this.input.value = this.conversationId ? this.draft(this.conversationId) : '';
    this.#changed(false, said);
  }

  #end(...said) {
    this.keepEdit(this.conversationId, undefined);
    this.#showDraft(...said);
  }

  #stopEditing() {
    this.#end();
    this.input.focus();
  }

  #keep() {
    this.#touched = true;
    const { value: text } = this.input;
    if (!this.#editing) return this.keep(this.conversationId, text);
    const { id, seq, content } = this.#editing;
    this.keepEdit(this.conversationId, text === content ? undefined : { id, seq, text });
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
      if (GONE.includes(error.code) && this.conversationId === conversationId && !this.#editing) return this.#problem(...this.#deleted(content));
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
    this.#edit(refused.message, refused.content);
    this.#keep();
    // Whoever is busy elsewhere stays there.
    if (document.activeElement === document.body) this.input.focus();
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
    if (isInvisible(content) || this.#tooLong()) return;
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
    return value.length * 3 > this.#maxBytes && new TextEncoder().encode(value.trim()).length > this.#maxBytes;
  }

  #problem(...said) {
    this.notice.hidden = !said.length;
    this.notice.replaceChildren(...said);
  }

  /** As high as what is in it. While that is measured all of it keeps its height: the messages above would take the room, and be scrolled. */
  #fit() {
    const { element, input } = this;
    element.style.minHeight = `${element.offsetHeight}px`;
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight + 2, MOST_LINES_PX)}px`;
    element.style.minHeight = '';
    this.fitted(); // at once: it may be as high as before again when the next frame is drawn
  }

  /** What is `said` of it takes its room before anything is measured: who is at the end of the messages stays there. */
  #changed(byHand = true, said = []) {
    const tooLong = this.#tooLong();
    this.#problem(...(tooLong ? [`This is longer than a message can be (${this.#maxBytes.toLocaleString('en')} bytes).`] : said));
    const held = document.activeElement === this.button;
    this.button.disabled = isInvisible(this.input.value) || tooLong;
    if (held && this.button.disabled) this.input.focus(); // where nothing can be pressed, nothing has the keyboard
    this.#fit();
    if (byHand) this.#keep();
    if (byHand && !this.#editing) this.typing(Boolean(this.input.value));
  }
}
