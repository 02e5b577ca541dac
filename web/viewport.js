// The keyboard of a phone: where it does not make the page smaller, as interactive-widget asks for, but covers it (Safari), the page is
// as high as what is left, and there. shell.css and base.css have the rest.

/** What covers less of the page is a bar of the browser's. */
const LEAST_PX = 100;

export function followKeyboard() {
  const { visualViewport: seen } = window;
  if (!seen) return;
  const root = document.documentElement;
  const fit = () => {
    // Whoever makes the page larger with two fingers sees a part of it, too, and that is to stay as it is.
    const isCovered = seen.scale < 1.01 && root.clientHeight - seen.height > LEAST_PX;
    root.classList.toggle('keyboard', isCovered);
    root.style.setProperty('--seen-top', `${seen.offsetTop}px`);
    root.style.setProperty('--seen-height', `${seen.height}px`);
  };
  for (const what of ['resize', 'scroll']) seen.addEventListener(what, fit);
  fit();
}
