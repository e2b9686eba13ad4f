import { fork } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Packr, UnpackrStream } from 'msgpackr';

const START_PATIENCE_MS = 20_000;
const ANSWER_PATIENCE_MS = 30_000;

/** A process that is asked over Node's channel. */
export class Child {
  #lastId = 0;
  #output = '';

  constructor(file, options, { heapMiB } = {}) {
    this.process = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      execArgv: heapMiB ? [`--max-old-space-size=${heapMiB}`] : [],
    });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream.on('data', (text) => (this.#output = `${this.#output}${text}`.slice(-4000)));
  }

  static async start(...args) {
    const child = new Child(...args);
    child.ready = await child.#answer(0, START_PATIENCE_MS);
    return child;
  }

  ask(ask) {
    const id = ++this.#lastId;
    const answer = this.#answer(id, ANSWER_PATIENCE_MS);
    if (this.process.connected) this.process.send({ id, ask });
    return answer;
  }

  async stop() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exited;
  }

  #answer(id, patienceMs) {
    const { process: child } = this;
    return new Promise((resolve, reject) => {
      const settle = (conclude) => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onExit);
        conclude();
      };
      const onMessage = (message) => message.id === id && settle(() => resolve(message.value));
      const onExit = (code, signal) =>
        settle(() => reject(new Error(`the process died (${signal ?? code}):\n${this.#output}`)));
      const timer = setTimeout(
        () => settle(() => reject(new Error(`no answer in ${patienceMs} ms:\n${this.#output}`))),
        patienceMs,
      );
      child.on('message', onMessage).once('exit', onExit);
      if (child.exitCode !== null || child.signalCode !== null) onExit(child.exitCode, child.signalCode);
    });
  }
}

const packr = new Packr({ useRecords: false, variableMapSize: true });
export const pack = (value) => Buffer.from(packr.pack(value));

export const declare = (body = {}) => [
  103,
  3,
  { target: '/_event/DECLARE' },
  { client_info: { host: ['127.0.0.1', 1], version: '0.1', user_agent: 'attacker' }, ...body },
];

/** The bytes of a frame whose body is given as bytes. */
export const frameWith = (type, id, header, body) => {
  const frame = pack([type, id, header, null]);
  return Buffer.concat([frame.subarray(0, frame.length - 1), body]);
};

/** A socket that says what it likes, from an address of its own of the loopback range. */
export class Attacker {
  frames = [];
  closed = false;

  constructor(socket, { reads = true } = {}) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('close', () => (this.closed = true));
    if (!reads) {
      socket.pause();
      return;
    }
    const unpack = new UnpackrStream({ useRecords: false });
    unpack.on('error', () => {});
    unpack.on('data', (frame) => this.frames.push(frame));
    socket.pipe(unpack);
  }

  static async connect(port, { from = '127.0.0.2', ...options } = {}) {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress: from });
    await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => {});
    return new Attacker(socket, options);
  }

  /** Connects and says DECLARE. */
  static async open(port, { extensions = {}, metadata = {}, ...options } = {}) {
    const attacker = await Attacker.connect(port, options);
    void attacker.send(declare({ extensions, metadata }));
    if (options.reads !== false)
      for (let i = 0; i < 200 && attacker.frames.length === 0 && !attacker.closed; i++) await sleep(5);
    else await sleep(50);
    return attacker;
  }

  send(...frames) {
    return this.bytes(Buffer.concat(frames.map(pack)));
  }

  /** Resolves when the kernel took the bytes, or the connection is gone, or nothing moves for a while. */
  bytes(bytes) {
    if (this.closed || this.socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000);
      this.socket.write(bytes, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Calls, and waits until something comes back, which it drops. */
  async call(id, header, body) {
    this.frames = [];
    await this.send([101, id, header, body]);
    while (this.frames.length === 0 && !this.closed) await turn();
  }

  /** Closes without a word. */
  vanish() {
    this.socket.resetAndDestroy?.();
    this.socket.destroy();
  }
}

/** A server that answers calls as it likes: `answer(id)` gives the bytes. */
export function hostileServer(answer) {
  const server = net.createServer((socket) => {
    const unpack = new UnpackrStream({ useRecords: false });
    socket.on('error', () => {});
    unpack.on('error', () => {});
    socket.pipe(unpack);
    unpack.on('data', ([type, id]) => {
      if (type === 103) socket.write(pack([103, id, {}, { conn_id: 'hostile', server_info: {} }]));
      if (type === 101) socket.write(answer(id));
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

export { sleep };
