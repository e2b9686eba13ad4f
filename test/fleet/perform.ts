import { lastValueFrom } from 'rxjs';
import type { RapClient } from '../../lib/index.js';
import { digestOf } from './digest.js';
import type { Operation } from './operation.js';

const ITEMS = 5;
const ITEM_MS = 10;
const IDEMPOTENT = { idempotent: true };

/** An answer that is not the operation's own. */
export class WrongAnswer extends Error {
  override readonly name = 'WrongAnswer';
}

interface Answer {
  readonly id: number;
  readonly digest: string;
}

/** Does an operation, and checks that its answers are its own, and complete. */
export async function perform(client: RapClient, operation: Operation): Promise<void> {
  const { id, body, ms, kind } = operation;
  switch (kind) {
    case 'event':
      return lastValueFrom(client.emit('note', { id }), { defaultValue: undefined });
    case 'stream':
      return readAll(client, operation);
    case 'duplex':
      return talk(client, operation);
    case 'upload':
      return upload(client, operation);
    default: {
      const options = kind === 'repeatable' ? IDEMPOTENT : undefined;
      check(operation, await client.call<Answer>('apply', { id, body, ms }, options), operation.digest);
    }
  }
}

async function readAll(client: RapClient, { id }: Operation): Promise<void> {
  let next = 0;
  const items = client.stream<{ id: number; i: number }>('feed', { id, ms: ITEM_MS, count: ITEMS });
  for await (const item of items) {
    if (item.id !== id || item.i !== next) throw new WrongAnswer(`item ${next}: ${JSON.stringify(item)}`);
    next += 1;
  }
  if (next !== ITEMS) throw new WrongAnswer(`the stream of ${id} ends after ${next} items`);
}

async function talk(client: RapClient, operation: Operation): Promise<void> {
  const channel = await client.channel<Answer, object>('talk');
  for (let i = 0; i < ITEMS; i++) {
    const body = `${operation.body}${i}`;
    await channel.write({ id: operation.id, body });
    check(operation, await channel.read(), digestOf(body));
  }
  await channel.end();
  if ((await channel.read()) !== undefined) throw new WrongAnswer(`more than was asked by ${operation.id}`);
}

async function upload(client: RapClient, operation: Operation): Promise<void> {
  const channel = await client.channel<Answer, object>('upload');
  for (let i = 0; i < ITEMS; i++) await channel.write({ id: operation.id, body: operation.body });
  await channel.end();
  check(operation, await channel.read(), digestOf(operation.body.repeat(ITEMS)));
}

function check({ id }: Operation, answer: Answer | undefined, digest: string): void {
  if (answer?.id !== id || answer.digest !== digest)
    throw new WrongAnswer(`${id} was answered ${JSON.stringify(answer)}`);
}
