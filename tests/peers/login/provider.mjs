// An identity provider: `oidc-provider` of npm, which is certified by the OpenID Foundation, with pages on which whoever comes says who
// they are. Access lasts for seconds, so that sessions have to be renewed while one looks on.

import { createServer } from "node:http";
import { once } from "node:events";
import { Provider } from "oidc-provider";

export const CLIENT = "colonnade";
export const CLIENT_SECRET = "a secret: of the client, 32 characters & more";
export const ACCESS_SECONDS = 3;

/** The roles that somebody has, by name. */
export const roles = new Map([
  ["ada", ["admins", "staff"]],
  ["grace", ["staff"]],
  ["mallory", ["nobody"]],
]);

/** A free port, which is nobody's for the moment. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts a provider that lets browsers go back to `site`. */
export async function startProvider(site) {
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT,
        client_secret: CLIENT_SECRET,
        redirect_uris: [`${site}/auth/callback`],
        post_logout_redirect_uris: [`${site}/`],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
      },
    ],
    claims: { openid: ["sub", "roles"] },
    conformIdTokenClaims: false,
    cookies: { keys: ["only for a test"] },
    features: {
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id, roles: roles.get(id) ?? [] }) }),
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: {
      AccessToken: ACCESS_SECONDS,
      AuthorizationCode: 60,
      Grant: 600,
      IdToken: 600,
      Interaction: 600,
      RefreshToken: 600,
      Session: 600,
    },
  });
  let refreshed = 0;
  const failed = [];
  provider.on("grant.success", (ctx) => {
    if (ctx.oidc.params.grant_type === "refresh_token") refreshed += 1;
  });
  provider.on("grant.error", (_, error) => failed.push(error.message));
  provider.on("server_error", (_, error) => failed.push(error.stack));
  const server = createServer(provider.callback()).listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    issuer,
    failed,
    refreshed: () => refreshed,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
