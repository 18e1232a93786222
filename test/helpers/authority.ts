/** An authority, a server's and a client's certificate, made for one test. */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export interface Certificate {
  readonly key: string;
  readonly certificate: string;
  readonly keyFile: string;
  readonly certificateFile: string;
}

export interface Certificates {
  readonly authority: Certificate;
  readonly server: Certificate;
  readonly client: Certificate;
}

/** Made by the command openssl in `folder`; valid for "localhost" and 127.0.0.1 from now on. */
export function makeCertificates(folder: string): Certificates {
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req', '-x509', ...key, '-subj', '/CN=test authority', '-days', '2',
    '-keyout', 'authority.key', '-out', 'authority.pem',
  ); // prettier-ignore
  for (const name of ['server', 'client']) {
    openssl('req', ...key, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    writeFileSync(path.join(folder, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
    openssl(
      'x509', '-req', '-in', `${name}.csr`, '-CA', 'authority.pem', '-CAkey', 'authority.key',
      '-CAcreateserial', '-days', '2', '-extfile', 'names', '-out', `${name}.pem`,
    ); // prettier-ignore
  }
  const read = (name: string): Certificate => {
    const keyFile = path.join(folder, `${name}.key`);
    const certificateFile = path.join(folder, `${name}.pem`);
    return {
      key: readFileSync(keyFile, 'utf8'),
      certificate: readFileSync(certificateFile, 'utf8'),
      keyFile,
      certificateFile,
    };
  };
  return { authority: read('authority'), server: read('server'), client: read('client') };
}
