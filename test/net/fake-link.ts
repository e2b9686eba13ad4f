import { encodeFrame } from '../../lib/protocol/encoder.js';
import { Fault } from '../../lib/protocol/fault.js';
import type { Frame } from '../../lib/protocol/frame.js';
import type { LinkReceiver } from '../../lib/protocol/link.js';
import { Outbox } from '../../lib/protocol/bytes/outbox.js';
import { InputBudget } from '../../lib/net/input-budget.js';
import { SocketLink, type SocketLinkLimits } from '../../lib/net/socket-link.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { FakeSocket, turn } from '../helpers/fake-socket.js';

export const KIB = 1024;

export class Receiver implements LinkReceiver {
  readonly frames: Frame[] = [];
  readonly sizes: number[] = [];
  readonly faults: Fault[] = [];
  /** What was told, in order. */
  readonly log: string[] = [];
  error: Error | undefined;
  /** What a frame does. */
  react: ((frame: Frame) => void) | undefined;

  onFrame(frame: Frame, bytes: number): void {
    this.frames.push(frame);
    this.sizes.push(bytes);
    this.log.push(`frame ${frame[1]}`);
    this.react?.(frame);
  }

  onBytes(): void {
    this.log.push('bytes');
  }

  onDrain(): void {
    this.log.push('drain');
  }

  onFault(fault: Fault): void {
    this.faults.push(fault);
    this.log.push(`fault ${fault.message}`);
  }

  onClose(error: Error | undefined): void {
    this.error = error;
    this.log.push('close');
  }

  get ids(): number[] {
    return this.frames.map(([, id]) => id);
  }
}

interface End {
  readonly socket: FakeSocket;
  readonly link: SocketLink;
  readonly receiver: Receiver;
}

export let clock: FakeClock;

export let ends: End[];

beforeEach(() => {
  clock = new FakeClock();
  clock.advance(1000);
  ends = [];
});

afterEach(async () => {
  for (const { link } of ends) link.destroy();
  await turn();
  expect(clock.pending).toBe(0);
});

export function open(limits: Partial<SocketLinkLimits> = {}, budget?: InputBudget): End {
  const socket = new FakeSocket();
  const link = new SocketLink(socket.asSocket, { limits: { ...DEFAULT_LIMITS, ...limits }, clock, budget });
  const receiver = new Receiver();
  link.start(receiver);
  link.admit();
  const end = { socket, link, receiver };
  ends.push(end);
  return end;
}

export function bytesOf(id: number, body: unknown = null, header: Record<string, unknown> = {}): Buffer {
  const outbox = new Outbox();
  outbox.append(encodeFrame(101, id, header, body, DEFAULT_LIMITS));
  return Buffer.concat(outbox.take());
}

export const many = (from: number, count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => bytesOf(from + i)));

export const range = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i);
