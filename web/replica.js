// Another replica for the second pane, where there is one that a page may reach.

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];
const PATIENCE_MS = 1_500;

/** On one's own machine a second replica usually has the next port. Returns its address, or undefined. */
export async function neighbour(base) {
  const url = new URL(base);
  if (!LOOPBACK.includes(url.hostname) || !url.port) return undefined;
  for (const port of [Number(url.port) + 1, Number(url.port) - 1]) {
    const other = new URL(url);
    other.port = port;
    try {
      const response = await fetch(new URL('health/ready', other), { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (response.ok) return String(other);
    } catch {
      // Nobody there, or nobody who lets this page in (ALLOWED_ORIGINS).
    }
  }
  return undefined;
}
