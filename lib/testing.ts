export { createRapTestBed, type RapTestBed } from './testing/test-bed.js';
export type { RapTestBedOptions, RapTestOverride } from './testing/bed-options.js';
export type { EndFault, RapFaults } from './testing/faults.js';
export type { RapTestClock } from './testing/test-clock.js';
export {
  mockChannel,
  mockClient,
  type RapMockChannel,
  type RapMockHandler,
  type RapMockHandlers,
} from './testing/mock-client.js';
export { mockService, rapServiceToken } from './testing/mock-service.js';
export type { RapMockOptions } from './testing/mock-server.js';
export { expectNoLeaks } from './testing/leaks.js';
