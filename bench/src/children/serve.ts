import { isQuestion, type Reply, type Request } from './messages.js';

interface Service {
  ready: unknown;
  answer: (request: Request) => unknown;
}

/**
 * The life of a child: get ready, then answer requests until the bench disconnects. A bench that dies disconnects too,
 * so that no child outlives it.
 */
export async function serve(prepare: () => Promise<Service>): Promise<void> {
  process.once('disconnect', () => process.exit());
  try {
    const { ready, answer } = await prepare();
    process.on('message', (message: unknown) => {
      if (!isQuestion(message)) return;
      const { id, request } = message;
      Promise.resolve(request)
        .then(answer)
        .then(
          (value) => send({ id, ok: true, value }),
          (error: unknown) => fail(id, error),
        );
    });
    send({ id: 0, ok: true, value: ready });
  } catch (error) {
    fail(0, error);
  }
}

function send(reply: Reply): void {
  process.send?.(reply);
}

function fail(id: number, error: unknown): void {
  send({ id, ok: false, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
