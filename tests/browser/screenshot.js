// The picture of the page in README.md: Amélie at her desk, Łukasz with his telephone, in one conversation.
//
//   scripts/screenshot.sh target/debug/pgchat
import { writeFile } from 'node:fs/promises';
import { withPalette } from './palette.js';
import { at, bubble, cluster, launch, leave, PHONE, quit, visit } from './support.js';

const MOST_BYTES = 150_000;
const SCALE = 2;
const TIME_ZONE = 'Europe/Warsaw';
const NOW = '2026-03-12T09:44:00+01:00';

const user = (n) => 'xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx'.replaceAll('x', n);
const [AMELIE, LUKASZ, ZEYNEP, OMAR, OLHA, GRACE, JURGEN] = [1, 2, 3, 5, 6, 7, 8].map(user);
const conversation = (n) => `c0000000-0000-4000-8000-00000000000${n}`;

/**
 * Amélie's conversations: with whom, how many are unread, and what was said; she speaks where a line begins with ">". Only
 * letters that the fonts of most machines have.
 */
const SAID = [
  [LUKASZ, 0, [
    ['2026-03-11 17:03', '> Hello! Is the flat on Marszałkowska still available?'],
    ['2026-03-11 17:08', 'Good afternoon, Amélie. It is: 64 m², third floor, with a balcony to the courtyard.'],
    ['2026-03-12 09:31', '> Lovely. Could I see it today after five?'],
    ['2026-03-12 09:38', '17:30 suits the owner. I will wait at the gate.'],
    ['2026-03-12 09:40', '> Which of the two entrances is it?'],
    ['2026-03-12 09:41', 'The left one, beside the bakery: https://example.com/map'],
    ['2026-03-12 09:42', '> Perfect, thank you!'],
  ]],
  [ZEYNEP, 2, [
    ['2026-03-12 08:50', '> Is a parking space included?'],
    ['2026-03-12 09:20', 'One for each unit, and B-311 has a second one.'],
    ['2026-03-12 09:21', 'Shall I hold it for you until Friday?'],
  ]],
  [GRACE, 0, [['2026-03-11 15:12', 'Your documents are complete.']]],
  [OMAR, 1, [['2026-03-10 12:05', 'I have found three flats near the river. When may I call you?']]],
  [OLHA, 0, [['2026-03-09 10:15', '> Thank you, that helps a lot.']]],
  [JURGEN, 0, [['2026-03-06 18:32', 'See you on Monday.']]],
];

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

function statements() {
  const lines = ['delete from messages', 'delete from conversations'];
  SAID.forEach(([other, unread, said], n) => {
    lines.push(`insert into conversations (id, participant1_id, participant2_id) values ('${conversation(n + 1)}', '${AMELIE}', '${other}')`);
    said.forEach(([when, line], at) => {
      const mine = line.startsWith('> ');
      lines.push(`insert into messages (conversation_id, sender_id, content, is_read, created_at)
        values ('${conversation(n + 1)}', '${mine ? AMELIE : other}', ${quoted(mine ? line.slice(2) : line)}, ${at < said.length - unread}, '${when} ${TIME_ZONE}')`);
    });
  });
  return `begin; ${lines.join('; ')}; commit`;
}

const replicas = await cluster({ RATE_LIMIT_PER_SECOND: '0' });
try {
  const replica = await replicas.start();
  await replicas.sql(statements());
  await launch();
  const look = async (address, options) => {
    const page = await visit(address, { timezoneId: TIME_ZONE, deviceScaleFactor: SCALE, ...options });
    await page.clock.setFixedTime(NOW);
    await page.reload();
    return page;
  };
  // Who is there.
  for (const somebody of [ZEYNEP, OMAR]) await look(at(replica.url, somebody));
  const desk = await look(at(replica.url, `${AMELIE}/${conversation(1)}`), { viewport: { width: 880, height: 658 }, colorScheme: 'light' });
  const phone = await look(at(replica.url, `${LUKASZ}/${conversation(1)}`), { ...PHONE, viewport: { width: 330, height: 668 }, colorScheme: 'dark' });
  await bubble(desk, 'Perfect, thank you!').getByTitle('read', { exact: true }).waitFor();
  for (const number of [2, 4]) await desk.locator(`[data-conversation="${conversation(number)}"] .avatar.online`).waitFor();
  await desk.getByRole('textbox', { name: 'Message' }).pressSequentially('See you there');
  await phone.locator('.thread-head').getByText('typing…').waitFor();
  const [wide, narrow] = await Promise.all([desk, phone].map((page) => page.screenshot({ caret: 'hide' })));

  const frame = await visit('about:blank', { viewport: { width: 1340, height: 760 }, deviceScaleFactor: SCALE });
  const source = (picture) => `data:image/png;base64,${picture.toString('base64')}`;
  await frame.setContent(`<!doctype html><style>
    body { margin: 0; height: 760px; display: flex; align-items: center; justify-content: center; gap: 40px; background: #dfe6f1; }
    div { overflow: hidden; box-shadow: 0 0 0 1px #10182822, 0 12px 32px #10182833; }
    img { display: block; }
    .desk { border-radius: 12px; background: #fff; }
    .desk::before { content: ""; display: block; height: 34px; background: radial-gradient(circle at 20px 17px, #ec6a5e 6px, #0000 6.5px), radial-gradient(circle at 40px 17px, #f4bf4f 6px, #0000 6.5px), radial-gradient(circle at 60px 17px, #61c554 6px, #0000 6.5px), #eceff4; }
    .phone { border: 8px solid #0b0e12; border-radius: 36px; }
  </style><div class="desk"><img width="880" src="${source(wide)}"></div><div class="phone"><img width="330" src="${source(narrow)}"></div>`);
  await frame.waitForFunction(() => [...document.images].every(({ complete }) => complete));
  const picture = await withPalette(frame, await frame.screenshot());
  if (picture.length > MOST_BYTES) throw new Error(`${picture.length} bytes are more than a README should load`);
  await writeFile(process.argv[2], picture);
  console.log(`${process.argv[2]}: ${picture.length} bytes`);
  await leave();
} finally {
  await quit();
  await replicas.close();
}
