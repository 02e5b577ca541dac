/** The first event of that type that `fits`; a failure tells what came instead. */
export function next(chat, type, fits = () => true, patienceMs = 20_000) {
  const others = [];
  return new Promise((resolve, reject) => {
    const off = chat.on(type, (data) => {
      if (!fits(data)) return others.push(data);
      clearTimeout(late);
      off();
      resolve(data);
    });
    const late = setTimeout(() => {
      off();
      reject(new Error(`no such ${type} in ${patienceMs} ms, but ${JSON.stringify(others)}`));
    }, patienceMs);
  });
}

export const online = (chat) => (chat.status === 'online' ? Promise.resolve() : next(chat, 'status', ({ status }) => status === 'online'));

/** Until `holds()` is truthy. */
export async function eventually(holds, patienceMs = 20_000) {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not in ${patienceMs} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
