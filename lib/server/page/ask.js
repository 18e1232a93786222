// Asks the server, with a token where it wants one.

import { byId } from './dom.js';

/** In this tab's memory only. */
let token;
let goOn = () => undefined;

export class AccessError extends Error {}

export const hasToken = () => token !== undefined;

/** What happens when there is another token. */
export function onToken(listener) {
  goOn = listener;
}

export async function ask(url, options = {}) {
  const response = await fetch(url, {
    ...options,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
  });
  if (response.status === 401) {
    askForToken();
    throw new AccessError('The server wants a token');
  }
  return response;
}

export async function askJson(url) {
  const response = await ask(url);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? response.statusText);
  return answer;
}

function askForToken() {
  const form = byId('access');
  if (!form.hidden) return;
  byId('access-reason').textContent = hasToken()
    ? 'The server does not take that token.'
    : 'This server asks for a bearer token.';
  form.hidden = false;
  byId('token').focus();
}

byId('access').addEventListener('submit', (event) => {
  event.preventDefault();
  const given = byId('token').value.trim();
  if (given === '') return;
  // Nothing else can be in a header.
  if (!/^[\x21-\x7e]+$/.test(given)) {
    byId('access-reason').textContent = 'A token has no spaces, and letters of ASCII only.';
    return;
  }
  token = given;
  byId('token').value = '';
  byId('access').hidden = true;
  goOn();
});
