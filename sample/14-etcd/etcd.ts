import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** An etcd with an empty store on free ports; `undefined` if none is installed. */
export class Etcd {
  readonly #process: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'rap-sample-etcd-'));

  static async start(): Promise<Etcd | undefined> {
    if (spawnSync('etcd', ['--version']).status !== 0) return undefined;
    const etcd = new Etcd(`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`);
    while (!(await etcd.#answers())) await sleep(50);
    return etcd;
  }

  private constructor(
    readonly url: string,
    peer: string,
  ) {
    const args = [
      `--data-dir=${this.#folder}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
    ];
    this.#process = spawn('etcd', args, { stdio: 'ignore' });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #answers(): Promise<boolean> {
    if (this.#process.exitCode !== null) throw new Error('etcd has ended');
    return fetch(`${this.url}/version`).then(
      ({ ok }) => ok,
      () => false,
    );
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
