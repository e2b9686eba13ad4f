import type { PeerName } from './peers.js';

interface Shades {
  light: string;
  dark: string;
}

/** rap in blue; the others in colours that also differ in brightness. */
const barColors: Record<PeerName, Shades> = {
  rap: { light: '#0550ae', dark: '#58a6ff' },
  'rap-call': { light: '#0550ae', dark: '#58a6ff' },
  'rap-service': { light: '#033d8b', dark: '#a5d6ff' },
  'rap-aead': { light: '#8250df', dark: '#a371f7' },
  'rap-send': { light: '#4493f8', dark: '#1f6feb' },
  'rap-processor': { light: '#8250df', dark: '#a371f7' },
  'rap-tls': { light: '#bf3989', dark: '#f778ba' },
  'rap-prometheus': { light: '#bc4c00', dark: '#f0883e' },
  'rap-traced': { light: '#8250df', dark: '#a371f7' },
  'rap-traced-all': { light: '#bf3989', dark: '#f778ba' },
  'nest-tcp': { light: '#57606a', dark: '#c9d1d9' },
  'nest-tcp-object': { light: '#1a7f7a', dark: '#39c5bb' },
  'nest-tcp-batched': { light: '#1a7f7a', dark: '#39c5bb' },
  'nest-grpc': { light: '#bc4c00', dark: '#f0883e' },
  'nest-grpc-tuned': { light: '#953800', dark: '#db6d28' },
  raw: { light: '#8c959f', dark: '#6e7681' },
};

const inks: Record<'ground' | 'text' | 'faint' | 'grid' | 'baseline', Shades> = {
  ground: { light: '#ffffff', dark: '#0d1117' },
  text: { light: '#1f2328', dark: '#e6edf3' },
  faint: { light: '#59636e', dark: '#9198a1' },
  grid: { light: '#d8dee4', dark: '#30363d' },
  baseline: { light: '#59636e', dark: '#9198a1' },
};

function fills(shade: keyof Shades): string {
  const rules = Object.entries(barColors).map(([peer, shades]) => `.${peer}{fill:${shades[shade]}}`);
  return [
    ...rules,
    `.ground{fill:${inks.ground[shade]}}`,
    `text{fill:${inks.text[shade]}}`,
    `text.faint{fill:${inks.faint[shade]}}`,
    `.grid{stroke:${inks.grid[shade]}}`,
    `.baseline{stroke:${inks.baseline[shade]}}`,
  ].join('');
}

/**
 * The picture has its own background: GitHub shows it as an image, which follows the system's colour scheme and not
 * GitHub's, so that text without a background could be dark on dark.
 */
export const chartStyle = [
  `text{font:12px -apple-system,'Segoe UI',Helvetica,Arial,sans-serif}`,
  `.title{font-size:18px;font-weight:600}.group{font-size:13px;font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}`,
  `.baseline{stroke-width:1.5}`,
  fills('light'),
  `@media(prefers-color-scheme:dark){${fills('dark')}}`,
].join('');
