/** Continues after the work: synchronously if the work was synchronous. */
export function afterwards(
  work: () => void | Promise<void>,
  done: () => void | Promise<void>,
  failed: (error: unknown) => void | Promise<void>,
): void | Promise<void> {
  let pending: void | Promise<void>;
  try {
    pending = work();
  } catch (error) {
    return failed(error);
  }
  return pending ? pending.then(done, failed) : done();
}
