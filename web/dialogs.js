// Questions that have to be answered before anything else: whether to go on, and for a token.
import { h } from './dom.js';
import { tokenForm } from './sign_in.js';

function open(title, ...children) {
  const dialog = h('dialog', { 'aria-label': title }, h('h2', {}, title), ...children);
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** `about`: what is said of it; `stay` and `go`: the two answers; `then`: what is done after the second. Returns the dialog. */
export function ask(title, { about, stay, go }, then) {
  const agree = () => {
    dialog.close();
    then();
  };
  const dialog = open(title, ...about,
    h('div.dialog-buttons', {}, h('button.button', { type: 'button', onclick: () => dialog.close() }, stay), h('button.button.danger', { type: 'button', onclick: agree }, ...go)));
  return dialog;
}

/**
 * A new token in place of one that is of no use any more, `text` says why. `leave(then)`: to be somebody else instead; `given(token, isLeft)`:
 * what was given, undefined where nothing was, and whether that is so by that button. Returns the dialog, and the element `why`: it may be another reason by the time that a token is found.
 */
export function askToken(text, { leave, given }) {
  let token;
  let isLeft = false;
  const leaves = () => {
    isLeft = true;
    dialog.close();
  };
  const why = h('p', { role: 'status' }, text);
  const form = tokenForm({ label: 'Go on', other: h('button.button', { type: 'button', onclick: () => leave(leaves) }, 'Be somebody else') }, (it) => {
    token = it;
    dialog.close();
  });
  const dialog = open('A new token, please', why, form);
  // Escape, or Back on a phone, would end the chat. `cancel` can be prevented once, and then not until something else is done.
  dialog.setAttribute('closedby', 'none');
  dialog.addEventListener('keydown', (event) => event.key === 'Escape' && event.preventDefault());
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  dialog.addEventListener('close', () => given(token, isLeft));
  return { dialog, why };
}
