export { RedisConnStore, type RedisConnStoreOptions } from './redis/redis-conn-store.js';
export { RedisIpListStore, type RedisIpListStoreOptions } from './redis/redis-ip-list-store.js';
export { RedisRateStore, type RedisRateStoreOptions } from './redis/redis-rate-store.js';
export type { RedisClient } from './redis/redis-script.js';
