// Validates an AsyncAPI document: node asyncapi.mjs URL
import { Parser } from '@asyncapi/parser';

// Severities of the parser's diagnostics.
const ERROR = 0;
const WARNING = 1;
// 3.0.0 is what tools read today; the advice to use the newest version is no fault of the document.
const ADVICE = new Set(['asyncapi-latest-version']);

const text = await (await fetch(process.argv[2])).text();
const { document, diagnostics } = await new Parser().parse(text);
const faults = diagnostics.filter(
  ({ severity, code }) => (severity === ERROR || severity === WARNING) && !ADVICE.has(code),
);
for (const { code, message, path } of faults) {
  console.error(`asyncapi: ${path.join('.')}: ${message} (${code})`);
}
if (!document || faults.length > 0) process.exit(1);
console.log(`asyncapi: valid, ${document.allMessages().length} messages`);
