// Servers of a sample that are killed, frozen and restarted while it runs.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

/** A server in a process of its own, which keeps its port when it is started again. */
export class ServerProcess {
  port = 0;
  #process: ChildProcess | undefined;

  /** @param url the file of the server, which gets the port as its first argument and sends its address when it listens */
  constructor(
    private readonly url: URL,
    private readonly env: NodeJS.ProcessEnv = process.env,
  ) {}

  async start(): Promise<this> {
    const child = fork(fileURLToPath(this.url), [String(this.port)], { env: this.env });
    this.#process = child;
    const failed = new AbortController();
    child.once('exit', () => failed.abort());
    const [{ port }] = (await once(child, 'message', { signal: failed.signal })) as [AddressInfo];
    this.port = port;
    return this;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  /** Resolves when the process has ended. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}
