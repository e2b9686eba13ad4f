export { inWorker, RunInWorker, type RunInWorkerOptions } from './nest/run-in-worker.js';
export { configureWorkers, type WorkerOptions } from './nest/worker-pool.js';
