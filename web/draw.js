// When views draw: once a frame, however much comes in between.

/** Where no frames come, as in a tab that nobody sees. Browsers make it a second or more there. */
const WITHOUT_FRAMES_MS = 250;

const asked = new Set();
let frame;
let timer;

/** Calls `view` before the next frame: once, however often it is asked for. */
export function soon(view) {
  asked.add(view);
  if (timer !== undefined) return;
  frame = requestAnimationFrame(draw);
  timer = setTimeout(draw, WITHOUT_FRAMES_MS);
}

/** For who is about to measure what it draws. */
export function atOnce(view) {
  if (asked.delete(view)) view();
}

/** It has been drawn otherwise, or is there no more. */
export const forget = (view) => asked.delete(view);

function draw() {
  cancelAnimationFrame(frame);
  clearTimeout(timer);
  timer = undefined;
  const views = [...asked];
  asked.clear();
  for (const view of views) {
    try {
      view();
    } catch (error) {
      reportError(error); // and the others are drawn all the same
    }
  }
}
