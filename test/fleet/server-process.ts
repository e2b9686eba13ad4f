import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pass } from 'node:timers/promises';

/** Another process may take the port for a moment while its server is down. */
const START_ATTEMPTS = 50;

/** A server of the fleet: a process that can be stopped in all ways, and started again at its port. */
export class ServerProcess {
  port = 0;
  #child: ChildProcess | undefined;

  constructor(
    private readonly script: string,
    readonly journal: string,
  ) {}

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const child = fork(this.script, [String(this.port), this.journal], { execArgv: [], stdio: 'inherit' });
      this.#child = child;
      const listening = once(child, 'message') as Promise<[{ port: number }]>;
      const exited = once(child, 'exit').then(() => undefined);
      const message = await Promise.race([listening, exited]);
      if (message) {
        this.port = message[0].port;
        return;
      }
      this.#child = undefined;
      if (attempt === START_ATTEMPTS) throw new Error(`a server does not listen at ${this.address}`);
      await pass(100);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Resolves when the process is gone; SIGTERM drains it first. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }
}
