// npm run sample -- 02-streams
import { readdirSync } from 'node:fs';

const names = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);
const [wanted] = process.argv.slice(2);

if (wanted !== undefined && names.includes(wanted)) await import(`./${wanted}/main.js`);
else {
  console.error(`Which sample? npm run sample -- ${names.join(' | ')}`);
  process.exitCode = 1;
}
