// An OpenID provider on loopback for the tests: `node provider.mjs PORT`. Any name signs in with any password.
// Clients register themselves. A resource that ends in /opaque gets opaque access tokens, any other one JWTs.
import Provider from 'oidc-provider';

const GROUPS = { alice: ['makers'], bob: ['makers', 'deciders'], carol: ['owners'] };
const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  scopes: ['openid', 'offline_access', 'profile', 'callsheet'],
  claims: { openid: ['sub', 'groups'], profile: ['name'] },
  conformIdTokenClaims: false,
  clientBasedCORS: () => false,
  cookies: { keys: ['tests alone use this'] },
  // Its own requests refuse loopback, where the tests live.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `${id} of the tests`, groups: GROUPS[id] ?? [] }),
  }),
  extraTokenClaims: (ctx, token) => (token.accountId ? { groups: GROUPS[token.accountId] ?? [] } : {}),
  rotateRefreshToken: true,
  ttl: { AccessToken: 300, IdToken: 300, Session: 3600, Grant: 3600, Interaction: 600, RefreshToken: 3600 },
  features: {
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    registration: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'callsheet',
        audience: resource,
        accessTokenTTL: 300,
        accessTokenFormat: resource.endsWith('/opaque') ? 'opaque' : 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});

provider.listen(port, '127.0.0.1');
