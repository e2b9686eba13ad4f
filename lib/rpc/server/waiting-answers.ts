import type { Header } from '../../protocol/frame.js';
import type { IncomingCall } from './incoming-call.js';

interface WaitingAnswer {
  readonly call: IncomingCall;
  readonly header: Header | null;
  readonly body: unknown;
}

/**
 * Answers that are queued unencoded, because of backpressure. Their calls keep their slots, so the limits on calls bound the
 * queue.
 */
export class WaitingAnswers {
  #answers: WaitingAnswer[] = [];

  get size(): number {
    return this.#answers.length;
  }

  add(answer: WaitingAnswer): void {
    answer.call.isAnswerPending = true;
    this.#answers.push(answer);
  }

  /** Sends while there is room. */
  flush(hasRoom: () => boolean, send: (answer: WaitingAnswer) => void): void {
    let sent = 0;
    for (; sent < this.#answers.length && hasRoom(); sent++) send(this.#answers[sent] as WaitingAnswer);
    for (const { call } of this.#answers.splice(0, sent)) call.answerSent();
  }

  /** The connection is closed. */
  clear(): void {
    for (const { call } of this.#answers.splice(0)) call.answerSent();
  }
}
