/** Two independent hashes of a text tell a thousand servers apart, which one of 32 bits does not do for sure. */
const FIRST = 0x9e3779b1;
const SECOND = 0x5f356495;

/** A 32-bit hash of a text; the same in each process. */
export function hashOf(text: string): number {
  return hashBy(text, FIRST);
}

export function secondHashOf(text: string): number {
  return hashBy(text, SECOND);
}

function hashBy(text: string, multiplier: number): number {
  let hash = text.length ^ multiplier;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), multiplier);
  return mixed(hash);
}

/** Each bit of the result depends on each bit of the number: the last step of MurmurHash3. */
export function mixed(number: number): number {
  let bits = number | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
