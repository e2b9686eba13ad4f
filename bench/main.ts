import { writeFile } from 'node:fs/promises';
import { runBench } from './src/bench.js';
import { chart } from './src/chart.js';
import { decoderReport, decoderTargets, measureDecoder } from './src/decoder.js';
import { loadDecoders } from './src/decoders.js';
import { ipFilterReport, measureIpFilter } from './src/ip-filter.js';
import { HELP, type Options, parseOptions, UsageError } from './src/options.js';
import { report } from './src/report.js';

async function main(options: Options): Promise<void> {
  if (options.help) {
    console.log(HELP);
    return;
  }
  if (options.decoder) {
    for (const { name, feed, isFloor } of await loadDecoders()) {
      const rows = measureDecoder(feed);
      console.log(`\n${name}\n\n${decoderReport(rows)}`);
      if (!isFloor) console.log(`\n${decoderTargets(rows)}`);
    }
    return;
  }
  if (options.ipFilter) {
    console.log(ipFilterReport(measureIpFilter()));
    return;
  }
  // To stderr, so that stdout has only the result.
  const { rows, failures } = await runBench({ ...options, log: (line) => console.error(line) });
  if (options.json) await writeFile(options.json, `${JSON.stringify(rows, null, 2)}\n`);
  if (options.svg) await writeFile(options.svg, chart(rows));
  console.log(report(rows));
  if (failures.length > 0) {
    console.error(`\nFailed:\n${failures.join('\n')}`);
    process.exitCode = 1;
  }
}

try {
  await main(parseOptions(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`${error.message}\nSee --help.`);
  process.exitCode = 2;
}
