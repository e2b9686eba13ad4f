import { lstatSync, unlinkSync } from 'node:fs';
import { createConnection } from 'node:net';

/**
 * Removes the file of a Unix socket on which nobody listens any more, as a process leaves it that was killed. Whatever else
 * is at the path stays: a socket that somebody listens on, a link, any other file.
 *
 * @returns whether it was removed
 */
export async function removeStaleSocket(path: string): Promise<boolean> {
  const before = socketAt(path);
  if (before === undefined || !(await isRefused(path))) return false;
  // another server may have taken the path in the meantime
  if (socketAt(path) !== before) return false;
  try {
    unlinkSync(path);
    return true;
  } catch {
    return false; // that it is taken says more
  }
}

/** Which socket file is at a path; a file system may give the number of a removed one to the next. */
function socketAt(path: string): string | undefined {
  try {
    const file = lstatSync(path, { bigint: true });
    return file.isSocket() ? `${file.dev} ${file.ino} ${file.ctimeNs}` : undefined;
  } catch {
    return undefined;
  }
}

/** Whether nobody listens. A listener with a full queue, or one that may not be asked, gives another error. */
function isRefused(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'ECONNREFUSED'));
  });
}
