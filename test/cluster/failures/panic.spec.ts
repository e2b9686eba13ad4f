import { type Usability, usableServers } from '../../../lib/cluster/failures/panic.js';

const STATES: Readonly<Record<string, Usability>> = { h: 'healthy', u: 'unhealthy', g: 'gone' };

/** The usable ones of servers that are written as letters. */
function usable(servers: string): string {
  return usableServers(servers.split(''), (letter) => STATES[letter] as Usability).join('');
}

it.each([
  ['hhhh', 'hhhh'],
  ['hhuu', 'hh'],
  ['hu', 'h'],
  ['huu', 'huu'],
  ['uuu', 'uuu'],
  ['huuu', 'huuu'],
  ['', ''],
  ['ggg', ''],
  ['ug', 'u'],
  // those that drain are neither used nor counted: a rolling restart is no panic
  ['hggg', 'h'],
  ['hhhugggggg', 'hhh'],
  ['huugg', 'huu'],
])('of %s, %s get calls', (servers, expected) => expect(usable(servers)).toBe(expected));
