// The SQL with which any other program puts a message into the open conversation.
import { fullName, h, icon, iconButton } from './dom.js';

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

export class Insert {
  constructor(close) {
    this.code = h('pre.sql', { tabindex: '0', role: 'group', 'aria-label': 'SQL statement' });
    this.explanation = h('p.small.quiet');
    this.copied = h('span.small', { role: 'status' });
    this.element = h('section.tool', { 'aria-label': 'SQL' },
      h('div.tool-head', {}, h('h3', {}, 'From SQL'), this.copied, h('button.button.compact', { type: 'button', onclick: () => this.#copy() }, icon('copy'), 'Copy'), iconButton('close', 'Close the SQL', { onclick: close })),
      h('div.tool-body', {}, this.explanation, this.code));
    this.element.hidden = true;
  }

  toggle(open = this.element.hidden) {
    this.element.hidden = !open;
  }

  show(conversation, sender) {
    this.copied.textContent = '';
    this.explanation.textContent = `Run this in psql, or from any program: ${fullName(sender)}’s message appears here at once.`;
    this.code.textContent = `insert into messages (conversation_id, sender_id, content)\nvalues (${quoted(conversation.id)},\n        ${quoted(sender.id)},\n        'Hello from SQL');`;
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      this.copied.textContent = 'Copied';
    } catch {
      // No permission, or no TLS: it is selected, so that one can do it by hand.
      getSelection().selectAllChildren(this.code);
      this.copied.textContent = 'Press Ctrl+C to copy';
    }
  }
}
