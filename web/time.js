// Times as people say them, in the browser's language and time zone.

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' }); // 8:11 PM or 20:11
const exact = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'short' });
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const dateOfYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const longDate = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const relativeDay = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

/** The language of all of these, for `lang`: the page around them is English. */
export const language = clock.resolvedOptions().locale;

const DAY = 86_400_000;

/** Whole days between the midnights of two moments. */
const daysAgo = (when) => Math.round((new Date().setHours(0, 0, 0, 0) - new Date(when).setHours(0, 0, 0, 0)) / DAY);

const capital = (text) => text.charAt(0).toLocaleUpperCase() + text.slice(1);

export const timeOf = (when) => clock.format(new Date(when));
export const exactTime = (when) => exact.format(when);
export const fullTime = (when) => full.format(new Date(when));
/** As `datetime` has it: the day where the reader is. */
export function isoDay(when) {
  const day = new Date(when);
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
}

export const dayKey = (when) => new Date(when).toDateString();

export function dayName(when) {
  const days = daysAgo(when);
  if (days < 2) return capital(relativeDay.format(-days, 'day'));
  return days < 300 ? longDate.format(new Date(when)) : dateOfYear.format(new Date(when));
}

/** Short: the time of today, the weekday of this week, else the date. */
export function stamp(when) {
  const days = daysAgo(when);
  if (days < 1) return timeOf(when);
  if (days < 7) return weekday.format(new Date(when));
  return (days < 300 ? date : dateOfYear).format(new Date(when));
}

export function lastSeen(when) {
  if (!when) return 'Offline';
  return daysAgo(when) < 1 ? `Last seen at ${timeOf(when)}` : `Last seen ${stamp(when)}`;
}
