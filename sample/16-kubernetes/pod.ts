// A process that is treated as Kubernetes treats a pod: it gets traffic while its readiness probe succeeds.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

const PROBE_MS = 100;
const PRE_STOP_MS = 500;

export class Pod {
  port = 0;
  #process: ChildProcess | undefined;
  #probesPort = 0;

  constructor(
    readonly name: string,
    private readonly version: string,
  ) {}

  /** Starts the container, and waits until it is ready. */
  async start(): Promise<this> {
    const env = { ...process.env, VERSION: this.version, PORT: '0', PROBES_PORT: '0' };
    const child = fork(fileURLToPath(new URL('server.js', import.meta.url)), { env });
    this.#process = child;
    const failed = new AbortController();
    child.once('exit', () => failed.abort());
    const [{ address, probes }] = (await once(child, 'message', { signal: failed.signal })) as [
      { address: AddressInfo; probes: AddressInfo },
    ];
    this.port = address.port;
    this.#probesPort = probes.port;
    while (!(await this.#isReady())) await sleep(PROBE_MS);
    return this;
  }

  /** The preStop hook, SIGTERM, the end. */
  async end(): Promise<void> {
    const child = this.#process;
    if (!child) return;
    await sleep(PRE_STOP_MS); // `sleep` of the manifest: the new endpoints spread meanwhile
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  }

  /** Its readiness probe. */
  async #isReady(): Promise<boolean> {
    try {
      const { ok } = await fetch(`http://127.0.0.1:${this.#probesPort}/readyz`);
      return ok;
    } catch {
      return false; // nothing listens yet
    }
  }
}
