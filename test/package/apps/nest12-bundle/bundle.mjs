// Bundles dist/main.js as a deployment would, minified: with esbuild to dist/esbuild.mjs, with webpack to dist/webpack.mjs.
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';
import webpack from 'webpack';

// what Nest loads if it is there, and what is loaded only when used
const optional =
  /^(@nestjs\/(websockets|platform-)|class-|@grpc\/|@nats-io\/|kafkajs|mqtt|nats|ioredis|amqp|piscina|rate-limiter)/;

await esbuild.build({
  entryPoints: ['dist/main.js'],
  outfile: 'dist/esbuild.mjs',
  bundle: true,
  minify: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
  plugins: [
    {
      name: 'optional',
      setup: (build) => build.onResolve({ filter: optional }, ({ path }) => ({ path, external: true })),
    },
  ],
});

const stats = await new Promise((resolve, reject) =>
  webpack(
    {
      mode: 'production',
      target: 'node20',
      entry: './dist/main.js',
      output: {
        path: fileURLToPath(new URL('dist', import.meta.url)),
        filename: 'webpack.mjs',
        module: true,
        chunkFormat: 'module',
      },
      experiments: { outputModule: true },
      externals: [
        ({ request }, done) => (optional.test(request) ? done(null, `node-commonjs ${request}`) : done()),
      ],
    },
    (error, result) => (error ? reject(error) : resolve(result)),
  ),
);
if (stats.hasErrors()) throw new Error(stats.toString({ all: false, errors: true }));
