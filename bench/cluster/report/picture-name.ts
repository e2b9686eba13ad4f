/** The file of the picture of a section. */
export function pictureName(section: string): string {
  return `simulation-${section}.svg`;
}
