import type { RapClientOperation } from '../../../diagnostics/messages.js';
import type { BalancedRequest } from '../../../cluster/peer-source.js';
import type { EncodedHeader } from '../../../protocol/bytes/encoded-frame.js';
import { Extension } from '../../../protocol/extension.js';
import type { Header } from '../../../protocol/frame.js';
import { heldValue } from '../../../protocol/held-body.js';
import type { CallRequest } from '../../../rpc/client/call-request.js';
import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { acceptingStream } from './call-plan.js';
import type { CallHeaders, CallPlan } from './client-routes.js';

/** A call as the connection sends it. It has a class for the reason that `HookedOutcome` has one. */
export class PlannedRequest implements CallRequest {
  readonly target: string;
  readonly header: Header;
  readonly encodedHeader: EncodedHeader | undefined;
  readonly timeoutMs: number;
  readonly tellTimeLeft: boolean;
  readonly pinned: boolean;

  constructor(
    { route, timeoutMs, isLimited, session }: CallPlan,
    { header, encodedHeader }: CallHeaders,
    readonly body: unknown,
    readonly leftMs: number | undefined,
    readonly where: string,
  ) {
    this.target = route.target;
    this.header = header;
    this.encodedHeader = encodedHeader;
    this.timeoutMs = timeoutMs;
    this.tellTimeLeft = isLimited;
    this.pinned = session !== undefined;
  }
}

/** The headers of a call that goes to this peer. */
export function headersFor(plan: CallPlan, peer: ClientPeer, acceptsStream: boolean): CallHeaders {
  return acceptsStream && peer.has(Extension.AcceptStream) ? acceptingStream(plan) : plan;
}

/** The same headers with more for one attempt. */
export function withMore(headers: CallHeaders, more: Header | undefined): CallHeaders {
  return more ? { header: { ...headers.header, ...more }, encodedHeader: undefined } : headers;
}

/** What else is known of a call. */
export interface PlannedMore {
  /** The call as subscribers of the tracing channels see it; `undefined` without them. */
  readonly operation: RapClientOperation | undefined;
  readonly acceptsStream?: boolean;
}

/** A call that may go to one server after the other. */
export class PlannedCall implements BalancedRequest {
  readonly target: string;
  readonly header: Header;
  readonly timeoutMs: number;

  constructor(
    protected readonly plan: CallPlan,
    private readonly given: unknown,
    readonly held: unknown,
    readonly leftMs: number,
    private readonly more: PlannedMore,
  ) {
    this.target = plan.route.target;
    this.header = plan.header;
    this.timeoutMs = plan.timeoutMs;
  }

  /** For balancers. */
  get body(): unknown {
    return heldValue(this.given);
  }

  get idempotent(): boolean {
    return this.plan.idempotent;
  }

  get operation(): RapClientOperation | undefined {
    return this.more.operation;
  }

  to(peer: ClientPeer, where: string, body: unknown, leftMs: number, more?: Header): CallRequest {
    const headers = withMore(headersFor(this.plan, peer, this.more.acceptsStream === true), more);
    return new PlannedRequest(this.plan, headers, body, leftMs, where);
  }
}

/** An event that may go to one server after the other. Its deadline is not sent. */
export class PlannedEvent extends PlannedCall {
  override to(_peer: ClientPeer, where: string, body: unknown, leftMs: number, more?: Header): CallRequest {
    const { target, timeoutMs } = this;
    const { header } = withMore(this.plan, more);
    return { target, header, body, timeoutMs, leftMs, where, pinned: this.plan.session !== undefined };
  }
}
