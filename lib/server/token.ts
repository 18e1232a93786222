import { createHash, timingSafeEqual } from 'node:crypto';

/** Whether an Authorization header carries the token. */
export type TokenCheck = (authorization: string | undefined) => boolean;

/** Takes the same time whatever the header holds, and however much of it is right. */
export function tokenCheck(token: string): TokenCheck {
  const expected = digest(token);
  return (authorization) => {
    const given = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? '';
    return timingSafeEqual(digest(given), expected);
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
