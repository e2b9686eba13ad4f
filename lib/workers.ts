export { inWorker, RunInWorker, type RunInWorkerOptions } from './nest/workers/run-in-worker.js';
export { configureWorkers, type WorkerOptions } from './nest/workers/worker-pool.js';
