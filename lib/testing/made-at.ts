/** Where the code that called `made` stands, as `file:line:column`, for messages; `undefined` if V8 does not say. */
export function calledAt(made: Function): string | undefined {
  const holder: { stack?: unknown } = {};
  Error.captureStackTrace(holder, made);
  const { stack } = holder;
  if (typeof stack !== 'string') return undefined; // Error.prepareStackTrace may make anything
  const frame = stack.split('\n').find((line) => /^\s+at (?!.*node:internal)/.test(line));
  return frame?.match(/\(?((?:file:\/\/)?[^\s(]+:\d+:\d+)\)?$/)?.[1];
}
