export { etcdResolver, type EtcdResolverOptions } from './etcd/etcd-resolver.js';
export {
  registerInEtcd,
  type EtcdRegistration,
  type RegisterInEtcdOptions,
  type RegistrableServer,
} from './etcd/etcd-registration.js';
export type { EtcdOptions } from './etcd/etcd-options.js';
export type { Resolver } from './cluster/resolver.js';
export type { ServerAddress } from './cluster/server-address.js';
