import { lstatSync, unlinkSync } from 'node:fs';
import { createConnection } from 'node:net';

/**
 * Removes the file of a Unix socket without a listener, which a killed process leaves behind. Anything else at the path
 * stays: a socket with a listener, a link, any other file.
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
    return false; // the caller's error, that the path is in use, says more
  }
}

/** Identifies the socket file at a path; a file system may reuse the inode of a removed one. */
function socketAt(path: string): string | undefined {
  try {
    const file = lstatSync(path, { bigint: true });
    return file.isSocket() ? `${file.dev} ${file.ino} ${file.ctimeNs}` : undefined;
  } catch {
    return undefined;
  }
}

/** Whether there is no listener. One with a full queue, or without permission to connect, gives another error. */
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
