/** What the bench asks of a client process. */
export interface RunRequest {
  seconds: number;
}

export function isRunRequest(question: unknown): question is RunRequest {
  return (
    typeof question === 'object' &&
    question !== null &&
    'seconds' in question &&
    typeof question.seconds === 'number'
  );
}

/** Sent once unasked when the process is ready, then once for each question. */
export type Reply = { ok: true; value: unknown } | { ok: false; error: string };

export function isReply(message: unknown): message is Reply {
  return typeof message === 'object' && message !== null && 'ok' in message;
}
