// A PNG with 256 colours: enough for text on a few grounds, and a third of the bytes.
import { crc32, deflateSync } from 'node:zlib';

/** Of a picture, with the canvas of any page. */
export async function withPalette(page, png) {
  const { width, height, palette, indexes } = await page.evaluate(reduce, png.toString('base64'));
  const lines = Buffer.from(indexes, 'base64');
  const rows = Buffer.alloc((width + 1) * height); // each after a byte for its filter: none
  for (let y = 0; y < height; y++) lines.copy(rows, y * (width + 1) + 1, y * width, (y + 1) * width);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8); // 8 bits, by palette
  const parts = [['IHDR', head], ['PLTE', Buffer.from(palette)], ['IDAT', deflateSync(rows, { level: 9 })], ['IEND', Buffer.alloc(0)]];
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...parts.flatMap(([type, data]) => chunk(type, data))]);
}

function chunk(type, data) {
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return [length, body, sum];
}

/** In the page: the colours by median cut. Each stands for those near it, and is the most frequent of them, so that grounds stay as they are. */
async function reduce(base64) {
  const bytes = await (await fetch(`data:image/png;base64,${base64}`)).blob();
  const bitmap = await createImageBitmap(bytes);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);

  const colours = [...counts].map(([pixel, count]) => ({ pixel, count, at: [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255] }));
  const box = (members) => {
    const ranges = [0, 1, 2].map((axis) => Math.max(...members.map(({ at }) => at[axis])) - Math.min(...members.map(({ at }) => at[axis])));
    const range = Math.max(...ranges);
    return { members, axis: ranges.indexOf(range), weight: range * Math.log2(1 + members.reduce((sum, { count }) => sum + count, 0)) };
  };
  const boxes = [box(colours)];
  while (boxes.length < 256) {
    boxes.sort((a, b) => b.weight - a.weight);
    const { members, axis, weight } = boxes[0];
    if (!weight) break;
    members.sort((a, b) => a.at[axis] - b.at[axis]);
    const middle = (members[0].at[axis] + members.at(-1).at[axis]) / 2;
    const cut = members.findIndex(({ at }) => at[axis] > middle);
    boxes.splice(0, 1, box(members.slice(0, cut)), box(members.slice(cut)));
  }
  const palette = boxes.map(({ members }) => members.reduce((most, member) => (member.count > most.count ? member : most)).at);
  const distance = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;
  const nearest = new Map(colours.map(({ pixel, at }) => [pixel, palette.reduce((best, one, index) => (distance(one, at) < distance(palette[best], at) ? index : best), 0)]));
  const indexes = Uint8Array.from(pixels, (pixel) => nearest.get(pixel));
  let text = '';
  for (let start = 0; start < indexes.length; start += 32_768) text += String.fromCharCode(...indexes.subarray(start, start + 32_768));
  return { width, height, palette: palette.flat(), indexes: btoa(text) };
}
