/** Continues after the work: synchronously if the work was synchronous. */
export function afterwards(
  work: () => void | Promise<void>,
  done: () => void,
  failed: (error: unknown) => void,
): void | Promise<void> {
  let pending: void | Promise<void>;
  try {
    pending = work();
  } catch (error) {
    return failed(error);
  }
  if (pending) return pending.then(done, failed);
  done();
}
