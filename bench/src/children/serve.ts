import type { Reply } from './messages.js';

interface Service {
  ready: unknown;
  answer: (question: unknown) => unknown;
}

/**
 * The life of a child: get ready, then answer questions until the bench hangs up. A bench that dies hangs up too,
 * so no child outlives it.
 */
export async function serve(prepare: () => Promise<Service>): Promise<void> {
  process.once('disconnect', () => process.exit());
  try {
    const { ready, answer } = await prepare();
    process.on('message', (question: unknown) => {
      Promise.resolve(question)
        .then(answer)
        .then((value) => send({ ok: true, value }), fail);
    });
    send({ ok: true, value: ready });
  } catch (error) {
    fail(error);
  }
}

function send(reply: Reply): void {
  process.send?.(reply);
}

function fail(error: unknown): void {
  send({ ok: false, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
