import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { isReply, isUsage, type Question, type Request, type Usage } from './messages.js';

/** How long a child may be silent after the requested run time. */
const PATIENCE_MS = 20_000;
const EXIT_PATIENCE_MS = 2_000;

/** The bench's end of a server or client process. */
export class Child {
  private lastId = 0;

  private constructor(private readonly process: ChildProcess) {}

  /** Starts a process and waits until it is ready. Resolves to the process and its ready message. */
  static async start(file: string, args: readonly string[]): Promise<{ child: Child; ready: unknown }> {
    const child = new Child(fork(fileURLToPath(new URL(file, import.meta.url)), args));
    try {
      return { child, ready: await child.reply(0, PATIENCE_MS) };
    } catch (error) {
      await child.stop();
      throw error;
    }
  }

  /** Sends a request and resolves to its answer. */
  async ask(request: Request, expectedMs = 0): Promise<unknown> {
    const question: Question = { id: ++this.lastId, request };
    const answer = this.reply(question.id, expectedMs + PATIENCE_MS);
    this.process.send(question);
    return answer;
  }

  async usage(): Promise<Usage> {
    const usage = await this.ask({ ask: 'usage' });
    if (!isUsage(usage)) throw new Error(`Not a usage: ${JSON.stringify(usage)}`);
    return usage;
  }

  async liveBytes(): Promise<number> {
    return Number(await this.ask({ ask: 'liveBytes' }));
  }

  /** Disconnects, which ends the process; kills it if it does not end. */
  async stop(): Promise<void> {
    const { process: child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill('SIGKILL'), EXIT_PATIENCE_MS);
    await exited;
    clearTimeout(timer);
  }

  private reply(id: number, patienceMs: number): Promise<unknown> {
    const { process: child } = this;
    return new Promise((resolve, reject) => {
      const settle = (conclude: () => void): void => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onExit);
        conclude();
      };
      const onMessage = (message: unknown): void => {
        if (!isReply(message) || message.id !== id) return;
        settle(() => (message.ok ? resolve(message.value) : reject(new Error(message.error))));
      };
      const onExit = (): void => settle(() => reject(new Error('The process ended')));
      const timer = setTimeout(
        () => settle(() => reject(new Error(`No answer within ${patienceMs / 1000} s: the calls hang`))),
        patienceMs,
      );
      child.on('message', onMessage).on('exit', onExit);
    });
  }
}
