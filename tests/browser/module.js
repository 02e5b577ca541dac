// Modules of the page that need no browser.
import { readFileSync } from 'node:fs';

/** `change`: what is to be otherwise in the source. No package says that these are modules, so Node takes none of them from its file. */
export const module = (name, change) => import(address(name, change));

function address(name, change = (source) => source) {
  const source = readFileSync(new URL(`../../web/${name}`, import.meta.url), 'utf8').replace(/(?<=from ')\.\/([\w.]+)/g, (_, other) => address(other));
  return `data:text/javascript;base64,${Buffer.from(change(source)).toString('base64')}`;
}
