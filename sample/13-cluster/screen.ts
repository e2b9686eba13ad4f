import type { RapClient } from 'nestjs-rap';

const { stdout } = process;

/** Shows the servers as the client sees them: a table that is drawn again, or lines if stdout is no terminal. */
export class Screen {
  readonly #since = performance.now();
  readonly #names = new Map<string, string>();
  #events: string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(
    private readonly client: RapClient,
    ports: readonly number[],
    private readonly footer: () => string,
  ) {
    ports.forEach((port, i) => this.#names.set(`127.0.0.1:${port}`, `server ${'ABC'[i]}`));
    client.on('endpoint', ({ address, state, reason }) => {
      if (state === 'connecting') return;
      const name = this.#names.get(address) ?? address;
      // addresses would make lines differ from run to run
      const why = reason?.replaceAll(address, name);
      this.tell(`  ${name} is ${state}${why ? `: ${why}` : ''}`);
    });
    if (stdout.isTTY) this.#timer = setInterval(() => this.#draw(), 200);
  }

  /** Something has happened. */
  tell(line: string): void {
    if (this.#isOver) return;
    const seconds = ((performance.now() - this.#since) / 1000).toFixed(1).padStart(4);
    const text = `${seconds} s ${line}`;
    if (!stdout.isTTY) return console.log(text);
    this.#events = [...this.#events.slice(-14), text];
    this.#draw();
  }

  /** One line for each server, if there is no table that shows them all the time. */
  snapshot(): void {
    if (!stdout.isTTY) for (const row of this.#rows()) console.log(`         ${row}`);
  }

  end(): void {
    this.#isOver = true;
    clearInterval(this.#timer);
    if (stdout.isTTY) this.#draw();
    console.log(this.footer());
  }

  #rows(): string[] {
    const { endpoints = [] } = this.client.stats();
    const header = ['', 'state', 'connections', 'in flight', 'latency', 'calls', 'failures'];
    const rows = endpoints.map((each) => [
      this.#names.get(each.address) ?? each.address,
      each.state,
      String(each.connections),
      String(each.inFlight),
      each.latencyMs === undefined ? '' : `${Math.round(each.latencyMs)} ms`,
      String(each.picks),
      String(each.failures),
    ]);
    return [header, ...rows].map((cells) =>
      cells
        .map((cell) => cell.padEnd(12))
        .join('')
        .trimEnd(),
    );
  }

  #draw(): void {
    const lines = [...this.#rows(), '', this.footer(), '', ...this.#events];
    stdout.write(`\u001b[H\u001b[2J${lines.join('\n')}\n`);
  }
}
