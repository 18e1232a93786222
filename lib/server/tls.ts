/** Certificates of both ports. */

import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { TenonError } from '../errors.js';
import type { SSLConfig } from '../protobuf/tensorflow-serving-config.js';

export interface TlsOptions {
  /** The private key, as PEM. */
  readonly key: string;
  /** The certificate, and those of the authorities between, as PEM. */
  readonly certificate: string;
  /** Authorities of clients' certificates, as PEM. Default: those that Node knows. */
  readonly clientCa?: string | undefined;
  /** Clients must have a certificate. Default: false. */
  readonly clientVerify?: boolean;
}

/** The same as options of node:tls. */
export function nodeTlsOptions({ key, certificate, clientCa, clientVerify }: TlsOptions): {
  key: string;
  cert: string;
  ca?: string;
  requestCert: boolean;
  rejectUnauthorized: boolean;
  minVersion: 'TLSv1.2';
} {
  return {
    key,
    cert: certificate,
    ...(clientCa === undefined ? {} : { ca: clientCa }),
    requestCert: clientVerify === true,
    rejectUnauthorized: clientVerify === true,
    minVersion: 'TLSv1.2',
  };
}

/**
 * What TensorFlow Serving's SSLConfig says. It holds PEM texts; here a path to a file will do as
 * well.
 *
 * @throws ERR_TENON_CONFIG where there is no key or no certificate, or not of each other.
 */
export async function tlsOptionsOf(config: SSLConfig, file: string): Promise<TlsOptions> {
  const options: TlsOptions = {
    key: await pem(config.serverKey, 'server_key', file),
    certificate: await pem(config.serverCert, 'server_cert', file),
    clientCa: config.customCa === '' ? undefined : await pem(config.customCa, 'custom_ca', file),
    clientVerify: config.clientVerify,
  };
  checkPair(options, file);
  return options;
}

/** @throws ERR_TENON_CONFIG for what is no key, no certificate, or not of each other. */
export function checkPair({ key, certificate }: TlsOptions, subject: string): void {
  let belongs: boolean;
  try {
    belongs = new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected a private key and a certificate as PEM in ${subject}: ${(cause as Error).message}`,
      { cause },
    );
  }
  if (!belongs) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected the certificate of the private key in ${subject}, received that of another`,
    );
  }
}

async function pem(value: string, name: string, file: string): Promise<string> {
  if (value.includes('-----BEGIN')) return value;
  if (value === '') {
    throw new TenonError('ERR_TENON_CONFIG', `expected "${name}" in ${file}, received none`);
  }
  try {
    return await readFile(value, 'utf8');
  } catch (cause) {
    throw new TenonError(
      'ERR_TENON_CONFIG',
      `expected PEM text or a readable file for "${name}" in ${file}: ${(cause as Error).message}`,
      { cause },
    );
  }
}
