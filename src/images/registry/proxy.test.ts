import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyFor } from './proxy.ts';

const proxy = 'http://proxy.corp:3128';

test('the proxy depends on the scheme; lower case wins; this machine is never asked through it', () => {
  const environment = { HTTPS_PROXY: proxy, http_proxy: 'other:80', HTTP_PROXY: 'not-this' };
  assert.equal(proxyFor(new URL('https://r.io/v2'), environment), proxy);
  assert.equal(proxyFor(new URL('http://r.io/v2'), environment), 'http://other:80');
  assert.equal(proxyFor(new URL('https://r.io/v2'), {}), undefined);
  assert.equal(proxyFor(new URL('https://r.io/v2'), { HTTPS_PROXY: '' }), undefined);
  for (const own of ['http://localhost:5000', 'http://127.0.0.3', 'http://[::1]:5000']) {
    assert.equal(proxyFor(new URL(own), environment), undefined, own);
  }
});

const cases: readonly (readonly [noProxy: string, url: string, direct: boolean])[] = [
  ['*', 'https://r.io', true],
  ['r.io', 'https://r.io', true],
  ['r.io', 'https://a.r.io', true],
  ['r.io', 'https://bar.io', false],
  ['.r.io', 'https://a.r.io', true],
  ['.r.io', 'https://r.io', false],
  ['*.r.io', 'https://a.r.io', true],
  ['R.IO', 'https://r.io.', true],
  ['r.io:5000', 'https://r.io:5000', true],
  ['r.io:5000', 'https://r.io', false],
  ['r.io:443', 'https://r.io', true],
  ['10.0.0.0/8', 'https://10.2.3.4', true],
  ['10.0.0.0/8', 'https://11.2.3.4', false],
  ['10.0.0.0/8', 'https://ten.example', false],
  ['10.0.0.0/99', 'https://10.2.3.4', false],
  ['fd00::/8', 'https://[fd12::1]:5000', true],
  ['fd12::1', 'https://[fd12:0::1]', true],
  ['[fd12::1]:5000', 'https://[fd12::1]:5000', true],
  ['192.168.1.1', 'https://192.168.1.1', true],
  ['a.io, ,b.io', 'https://b.io', true],
];

for (const [noProxy, url, direct] of cases) {
  test(`NO_PROXY=${noProxy} ${direct ? 'exempts' : 'does not exempt'} ${url}`, () => {
    assert.equal(
      proxyFor(new URL(url), { https_proxy: proxy, NO_PROXY: noProxy }),
      direct ? undefined : proxy,
    );
  });
}
