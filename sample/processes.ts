// Servers of a sample that are killed, frozen and restarted while it runs.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

/** What a server sends when it listens: its address, and what else the sample needs. */
type Ready = Pick<AddressInfo, 'port'> & Readonly<Record<string, unknown>>;

/** A server in a process of its own, which keeps its port when it is started again. */
export class ServerProcess {
  ready: Ready = { port: 0 };
  #process: ChildProcess | undefined;

  /**
   * @param url the file of the server, which gets the port as its first argument and sends its address when it listens
   * @param onOutput gets what it prints; without it that is printed by this process
   */
  constructor(
    private readonly url: URL,
    private readonly env: NodeJS.ProcessEnv = process.env,
    private readonly onOutput?: (text: string) => void,
  ) {}

  get port(): number {
    return this.ready.port;
  }

  async start(): Promise<this> {
    const { env, onOutput, port } = this;
    const stdout = onOutput ? 'pipe' : 'inherit';
    const stdio = ['inherit', stdout, 'inherit', 'ipc'] as const;
    const child = fork(fileURLToPath(this.url), [String(port)], { env, stdio: [...stdio] });
    this.#process = child;
    if (onOutput) child.stdout?.setEncoding('utf8').on('data', onOutput);
    const failed = new AbortController();
    child.once('exit', () => failed.abort());
    const [ready] = (await once(child, 'message', { signal: failed.signal })) as [Ready];
    this.ready = ready;
    return this;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  /** Resolves when the process has ended, and all that it has printed was read. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'close');
    child.kill(signal);
    await ended;
  }
}
