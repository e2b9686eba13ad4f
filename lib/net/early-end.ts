/** The end of a connection before the other side has said who it is. */
export interface EarlyEnd {
  /** The first chunk, if any. */
  readonly first: Buffer | undefined;
  readonly error: Error | undefined;
}

/** First bytes of a TLS alert of any version. */
const TLS_ALERT = Buffer.of(0x15, 0x03);
const HTTP = Buffer.from('HTTP/');

/** OpenSSL's message for an alert of the other side: `...:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:...` */
const ALERT = /:SSL routines:[^:]*:\S+ alert ([^:]+):/;

/**
 * Why a client's connection may have ended before the server sent a valid answer. In TLS 1.3, a server refuses a client's
 * certificate only after the client's handshake.
 */
export function meaningOf({ first, error }: EarlyEnd, secure: boolean): Error | undefined {
  if (first?.subarray(0, 2).equals(TLS_ALERT)) return errorOf('the server speaks TLS (option tls)', error);
  if (first?.subarray(0, HTTP.length).equals(HTTP)) return errorOf('the server speaks HTTP, not rap', error);
  if (first) return undefined;
  const refused = error && refusal(error);
  if (refused) return refused;
  if (error && (error as { code?: unknown }).code !== 'ECONNRESET') return undefined;
  const perhaps = secure
    ? 'it may not accept the certificate of this client'
    : 'it may speak TLS (option tls)';
  return errorOf(`the server closed the connection without an answer; ${perhaps}`, error);
}

/** An alert by which the server refused TLS, in words. */
export function refusal(error: Error): Error | undefined {
  const alert = ALERT.exec(error.message)?.[1];
  return alert === undefined ? undefined : errorOf(`the server refused TLS: ${alert}`, error);
}

function errorOf(message: string, cause: (Error & { code?: unknown }) | undefined): Error {
  return Object.assign(new Error(message, { cause }), cause?.code === undefined ? {} : { code: cause.code });
}
