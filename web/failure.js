// What could not be had: why, in words for people; and when it is asked for again by itself.

const REASONS = {
  network: () => 'There was no answer.',
  // What the service says of it is for who writes a program, or runs the service.
  search_timeout: (_, narrower) => ['it took too long.', narrower].filter(Boolean).join(' '),
  disconnected: () => 'The connection was lost.',
  // A gateway may say why, as JSON; of a page the client only tells the path and the status.
  bad_response: ({ status, message }) => (message && !message.endsWith(`: ${status}`) ? message : `Something in between answered, with status ${status}.`),
};

/**
 * Why a call failed, for who reads it: what the client says of the network is for programmers. `narrower`: what to ask for instead
 * where it took too long, as a sentence.
 */
export const reason = (error, narrower) => REASONS[error.code]?.(error, narrower) ?? error.message;

/** The same where it stands by itself. */
export function sentence(error, narrower) {
  const text = reason(error, narrower);
  return `${text.charAt(0).toLocaleUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

const PASSING = ['network', 'bad_response', 'no_token'];

/** The same again would take as long again, most probably: that is for people to decide. */
const TOO_MUCH = 'search_timeout';

/** Whether asking again may help. */
export const mayHelp = (error) => error.code === TOO_MUCH || passes(error);

/** Whether it may be otherwise in a while, without anybody who does something about it. */
export const passes = ({ status, code }) => code !== TOO_MUCH && (status >= 500 || status === 429 || status === 408 || PASSING.includes(code));

/** A message that failed with one of these may be taken another time; the service's other codes of a command are final (docs/api.md). */
const NOT_YET = ['unavailable', 'too_many_requests', 'request_timeout', 'internal', 'queue_full', 'disconnected', 'stopped', 'closed'];

/** Whether a message may be taken if it is sent once more. What ended the connection says nothing of it, but that it was too big for a frame. */
export const mayBeTaken = ({ status, code, closeCode }) => NOT_YET.includes(code) || (code !== 'frame_too_big' && Boolean(status ?? closeCode));

/** The first pause; each further one is twice as long, and all of them are half of that to one and a half. */
const FIRST_MS = 2_000;
const MOST_MS = 30_000;

/** One thing that is to be had: asked for again after a pause, and by its owner at once when there is a connection again. */
export class Retry {
  #timer;
  #run;
  #tries = 0;

  /** It has failed: `run` asks once more, unless nothing but a change would help. */
  after(error, run) {
    this.cancel();
    if (!passes(error)) return;
    const pause = Math.min(MOST_MS, FIRST_MS * 2 ** this.#tries++) * (0.5 + Math.random());
    this.#run = run;
    this.#timer = setTimeout(() => this.now(), pause + (error.retryAfterMs ?? 0));
  }

  /** It has failed before. */
  get isAgain() {
    return this.#tries > 0;
  }

  /** What waits is asked for without waiting any longer. */
  now() {
    const run = this.#run;
    this.cancel();
    run?.();
  }

  /** It is being asked for otherwise. */
  cancel() {
    clearTimeout(this.#timer);
    this.#run = undefined;
  }

  /** It has come, or nobody wants it any more: the next failure is a first one. */
  done() {
    this.cancel();
    this.#tries = 0;
  }
}
