import type { Header } from '../../protocol/frame.js';
import type { IncomingCall } from './incoming-call.js';

interface WaitingAnswer {
  readonly call: IncomingCall;
  readonly header: Header | null;
  readonly body: unknown;
}

/**
 * Answers that are not encoded yet, since too much is unsent already. Their calls keep their slots: there are never more
 * than calls at once.
 */
export class WaitingAnswers {
  #answers: WaitingAnswer[] = [];

  get size(): number {
    return this.#answers.length;
  }

  add(answer: WaitingAnswer): void {
    answer.call.isLeaving = true;
    this.#answers.push(answer);
  }

  /** Sends one after the other, as long as there is room. */
  flush(hasRoom: () => boolean, send: (answer: WaitingAnswer) => void): void {
    let sent = 0;
    for (; sent < this.#answers.length && hasRoom(); sent++) send(this.#answers[sent] as WaitingAnswer);
    for (const { call } of this.#answers.splice(0, sent)) call.hasLeft();
  }

  /** The connection is over. */
  clear(): void {
    for (const { call } of this.#answers.splice(0)) call.hasLeft();
  }
}
