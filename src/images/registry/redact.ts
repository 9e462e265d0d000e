/** URLs inside messages: no credentials, no signed query of a storage redirect. */

/** Scheme, host and path. A query is shown as `?...`: those of storage redirects carry signatures. */
export function redactUrl(url: URL): string {
  const query = url.search === '' ? '' : '?...';
  return `${url.protocol}//${url.host}${url.pathname}${query}`.slice(0, 512);
}
