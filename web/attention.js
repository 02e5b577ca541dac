// Whether somebody may be looking: who has had the tab hidden for a minute is not online by it.

/** Long enough for whoever looks something up elsewhere to be there all the while. */
const HIDDEN_MS = 60_000;

/** The service is told of it by this client, until the returned function is called. */
export function attend(chat) {
  let timer;
  let isActive = true;
  const set = (next) => {
    if (next !== isActive) chat.setActive(next);
    isActive = next;
  };
  const look = () => {
    clearTimeout(timer);
    if (document.visibilityState === 'visible') set(true);
    else timer = setTimeout(set, HIDDEN_MS, false);
  };
  document.addEventListener('visibilitychange', look);
  look();
  return () => {
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', look);
  };
}
