import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promises } from 'node:dns';
import { freePort } from '../helpers/ports.js';
import { describeWith, ServiceProcess } from '../helpers/service-process.js';

/** `describe` for tests that need dnsmasq: without it they are skipped with a line, or fail if services are required. */
export const describeWithDnsmasq = describeWith('dnsmasq', '--version');

/** A dnsmasq of its own on a free port of 127.0.0.1, which knows only the records of the test, all below `test`. */
export class TestDnsmasq extends ServiceProcess {
  readonly #folder = mkdtempSync(join(tmpdir(), 'rap-dnsmasq-'));

  private constructor(readonly port: number) {
    super();
  }

  static async start(hosts: readonly string[], srv: readonly string[] = []): Promise<TestDnsmasq> {
    const dnsmasq = new TestDnsmasq(await freePort());
    await dnsmasq.up(hosts, srv);
    return dnsmasq;
  }

  get nameServers(): string[] {
    return [`127.0.0.1:${this.port}`];
  }

  /**
   * @param hosts lines as in `/etc/hosts`
   * @param srv as `name,target,port,priority,weight`
   */
  async up(hosts: readonly string[], srv: readonly string[] = []): Promise<void> {
    this.#write('hosts', hosts);
    this.#write(
      'conf',
      srv.map((record) => `srv-host=${record}`),
    );
    const child = spawn(
      'dnsmasq',
      [
        '--keep-in-foreground',
        '--bind-interfaces',
        '--listen-address=127.0.0.1',
        `--port=${this.port}`,
        '--no-resolv',
        '--no-hosts',
        '--local=/test/',
        '--local-ttl=7',
        '--cache-size=0',
        '--log-facility=-',
        `--addn-hosts=${join(this.#folder, 'hosts')}`,
        `--conf-file=${join(this.#folder, 'conf')}`,
        `--user=${userInfo().username}`,
        '--pid-file=',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let log = '';
    child.stderr.on('data', (data: Buffer) => (log += data.toString()));
    this.process = child;
    const ended = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`dnsmasq ended\n${log}`)));
    });
    ended.catch(() => {});
    await Promise.race([ended, this.#answers()]);
  }

  /** Reads another list of hosts, as on SIGHUP. */
  hosts(hosts: readonly string[]): void {
    this.#write('hosts', hosts);
    this.process?.kill('SIGHUP');
  }

  async end(): Promise<void> {
    await this.down();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #write(file: string, lines: readonly string[]): void {
    writeFileSync(join(this.#folder, file), `${lines.join('\n')}\n`);
  }

  /** Waits until it answers anything, be it that there is no such name. */
  async #answers(): Promise<void> {
    const resolver = new promises.Resolver({ timeout: 200, tries: 1 });
    resolver.setServers(this.nameServers);
    for (;;) {
      try {
        await resolver.resolve4('nothing.test');
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOTFOUND') return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }
}
