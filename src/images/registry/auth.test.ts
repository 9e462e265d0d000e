import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EngineError } from '../../lib/errors.ts';
import { type PullRequest, pullImage } from '../pull.ts';
import { buildImage, buildLayer } from '../testing/build-image.ts';
import { openTestImages, type TestImages } from '../testing/open-test-images.ts';
import { sendError, tokenAuth } from '../testing/registry.ts';
import { checkRealm } from './auth.ts';
import { credentialFor } from './credentials.ts';
import type { RegistryHost } from './hosts.ts';

const account = { name: 'ann', password: 'pa:ss wörd' };
const basic = Buffer.from('ann:pa:ss wörd').toString('base64');

async function serveApp(context: TestImages): Promise<string> {
  const layers = [await buildLayer([{ name: 'f', content: 'f' }])];
  return context.registry.serve('app', 'v1', buildImage({ layers }));
}

function pull(context: TestImages, reference: string, auth?: PullRequest['auth']): Promise<unknown> {
  return pullImage(context.images, { reference, auth }, new AbortController().signal);
}

describe('bearer tokens', () => {
  test('anonymous: one token for the whole pull', async () => {
    await using context = await openTestImages();
    const reference = await serveApp(context);
    using _ = context.registry.misbehave(tokenAuth(context.registry));
    await pull(context, reference);
    const asked = context.registry.requests.filter((request) => request.url.startsWith('/token'));
    assert.deepEqual(
      asked.map((request) => request.url),
      ['/token?service=test&scope=repository%3Aapp%3Apull'],
    );
    assert.equal(asked[0]?.headers.authorization, undefined);
  });

  test('username and password, or the two in base64, for the token', async () => {
    for (const auth of [
      { username: 'ann', password: account.password },
      { auth: basic },
      { auth: basic, serverAddress: 'self' },
    ]) {
      await using context = await openTestImages();
      const reference = await serveApp(context);
      using _ = context.registry.misbehave(tokenAuth(context.registry, account));
      const addressed = 'serverAddress' in auth ? { ...auth, serverAddress: context.registry.url } : auth;
      await pull(context, reference, addressed);
    }
  });

  test('refused credentials, and none where some are needed', async () => {
    await using context = await openTestImages();
    const reference = await serveApp(context);
    using _ = context.registry.misbehave(tokenAuth(context.registry, account));
    const kinds = await Promise.all(
      [
        undefined,
        { username: 'ann', password: 'wrong' },
        { auth: basic, serverAddress: 'https://elsewhere.io' },
      ].map(async (auth) => {
        const error = await pull(context, reference, auth).catch((reason: unknown) => reason);
        assert.ok(error instanceof EngineError);
        assert.doesNotMatch(error.message, /wrong|pa:ss/);
        return error.kind;
      }),
    );
    assert.deepEqual(kinds, ['unauthenticated', 'permission-denied', 'unauthenticated']);
    assert.equal(
      context.registry.requests.some((request) => request.headers.authorization?.includes(basic)),
      false,
      'credentials for another server stay at home',
    );
  });

  test('an identity token is exchanged by POST, a registry token is sent as it is', async () => {
    await using context = await openTestImages();
    const reference = await serveApp(context);
    using _ = context.registry.misbehave((request, response) => {
      if (request.url.startsWith('/token')) {
        const fields = new URLSearchParams(request.body);
        const good =
          request.method === 'POST' &&
          fields.get('refresh_token') === 'idt' &&
          fields.get('grant_type') === 'refresh_token';
        if (good) response.end(JSON.stringify({ access_token: 'good-token' }));
        else sendError(response, 401, 'UNAUTHORIZED');
        return true;
      }
      return tokenAuth(context.registry)(request, response);
    });
    await pull(context, reference, { identityToken: 'idt' });
    const before = context.registry.count('/token');
    await pull(context, reference, { registryToken: 'good-token' });
    assert.equal(context.registry.count('/token'), before);
    await assert.rejects(pull(context, reference, { registryToken: 'bad' }), { kind: 'permission-denied' });
  });

  test('a token that runs out during the pull is renewed', async () => {
    await using context = await openTestImages();
    const reference = await serveApp(context);
    let tokens = 0;
    using _ = context.registry.misbehave((request, response) => {
      if (request.url.startsWith('/token')) {
        tokens += 1;
        response.end(JSON.stringify({ token: `token-${tokens}` }));
        return true;
      }
      const wanted = request.url.includes('/blobs/') ? 'Bearer token-2' : 'Bearer token-1';
      if (request.headers.authorization === wanted) return false;
      sendError(response, 401, 'UNAUTHORIZED', {
        'www-authenticate': `Bearer realm="${context.registry.url}/token"`,
      });
      return true;
    });
    await pull(context, reference);
    assert.equal(tokens, 2);
  });

  test('a registry that never is content does not loop', async () => {
    await using context = await openTestImages();
    const reference = await serveApp(context);
    let tokens = 0;
    using _ = context.registry.misbehave((request, response) => {
      tokens += 1;
      if (request.url.startsWith('/token')) response.end(JSON.stringify({ token: `t${tokens}` }));
      else
        sendError(response, 401, 'DENIED', {
          'www-authenticate': `Bearer realm="${context.registry.url}/token"`,
        });
      return true;
    });
    await assert.rejects(pull(context, reference), {
      kind: 'unauthenticated',
      message: /pull access denied/,
    });
    assert.ok(tokens < 10);
  });

  test('absurd tokens are refused: huge, no JSON, with a line break', async () => {
    await using context = await openTestImages();
    const reference = await serveApp(context);
    const bodies = ['x'.repeat(300_000), '<html>', JSON.stringify({ token: 'a\r\nx: y' }), '{}'];
    const nested = `${'{"a":'.repeat(1000)}1${'}'.repeat(1000)}`;
    for (const body of [...bodies, `{"token":"good","a":${nested}}`]) {
      using _ = context.registry.misbehave((request, response) => {
        if (!request.url.startsWith('/token')) return tokenAuth(context.registry)(request, response);
        response.end(body);
        return true;
      });
      await assert.rejects(pull(context, reference), { kind: 'data-loss', message: /token from http/ });
    }
  });
});

test('basic authentication', async () => {
  await using context = await openTestImages();
  const reference = await serveApp(context);
  using _ = context.registry.misbehave((request, response) => {
    if (request.headers.authorization === `Basic ${basic}`) return false;
    sendError(response, 401, 'UNAUTHORIZED', { 'www-authenticate': 'Basic realm="r"' });
    return true;
  });
  await pull(context, reference, { username: 'ann', password: account.password });
  await assert.rejects(pull(context, reference, { username: 'ann', password: 'x' }), {
    kind: 'permission-denied',
  });
  await assert.rejects(pull(context, reference), { kind: 'unauthenticated' });
});

describe('CVE-2020-15157 and its like: where a token server may be', () => {
  const https = { origin: 'https://registry.example' };
  for (const realm of [
    'http://auth.example/token',
    'https://169.254.169.254/latest',
    'https://127.0.0.1:8080/',
    'https://localhost/',
    'https://0.0.0.0/',
    'https://[::1]/',
    'https://[::]/',
    'https://[fe80::1]/',
    'https://[::ffff:169.254.169.254]/',
    'https://10.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://user:pw@auth.example/',
    'file:///etc/passwd',
    '/token',
    '',
  ]) {
    test(`not ${realm || '(empty)'}`, () => {
      assert.throws(() => checkRealm(realm, https), { kind: 'permission-denied' });
    });
  }
  test('elsewhere, and at the registry itself', () => {
    assert.equal(checkRealm('https://auth.example/token', https).host, 'auth.example');
    assert.equal(checkRealm('http://10.0.0.1:5000/t', { origin: 'http://10.0.0.1:5000' }).port, '5000');
    assert.throws(() => checkRealm('http://10.0.0.1:5001/t', { origin: 'http://10.0.0.1:5000' }), /private/);
  });
});

describe('containerd#4950: credentials go to the registry that they are for', () => {
  const host = (origin: string, isOrigin: boolean): RegistryHost => ({
    baseUrl: `${origin}/v2`,
    origin,
    canPull: true,
    canResolve: true,
    tls: { caPems: [], clientPairs: [], skipVerify: false },
    dialTimeoutMs: 1000,
    headers: {},
    isOrigin,
    namespace: undefined,
  });
  const login = { username: 'a', password: 'b' };
  const given = (serverAddress: string | undefined, domain: string, to: RegistryHost): boolean =>
    credentialFor({ ...login, serverAddress }, domain, to) !== undefined;

  test('by server address', () => {
    const origin = host('https://r.io', true);
    const mirror = host('https://mirror.corp', false);
    assert.ok(given(undefined, 'r.io', origin));
    assert.ok(given('https://r.io/v1/', 'r.io', origin));
    assert.ok(given('r.io', 'r.io', origin));
    assert.ok(!given('q.io', 'r.io', origin));
    assert.ok(!given(undefined, 'r.io', mirror));
    assert.ok(!given('r.io', 'r.io', mirror));
    assert.ok(given('mirror.corp', 'r.io', mirror));
    const hub = host('https://registry-1.docker.io', true);
    assert.ok(given('https://index.docker.io/v1/', 'docker.io', hub));
  });

  test('a token that would break out of its header is refused', () => {
    const origin = host('https://r.io', true);
    assert.throws(() => credentialFor({ registryToken: 'a\r\nx: y' }, 'r.io', origin), {
      kind: 'invalid-argument',
    });
  });

  test('text that is not base64 of name:password is refused without being shown', () => {
    assert.throws(
      () => credentialFor({ auth: 'c2VjcmV0' }, 'r.io', host('https://r.io', true)),
      (error: Error) => {
        assert.doesNotMatch(error.message, /secret|c2Vj/);
        return true;
      },
    );
  });
});
