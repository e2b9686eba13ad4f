export {
  Authority as TestAuthority,
  type CertificateRequest,
  type Identity,
} from '../../sample/certificates.js';
