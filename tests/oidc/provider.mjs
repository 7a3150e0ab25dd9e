// Two certified OpenID Connect providers on loopback, over HTTPS, for a test that starts this and stops it by its id.
// Reads {"key", "cert"} in PEM from its standard input, writes {"issuers": [...]} to its standard output when both listen,
// and ends when its standard input ends.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:https";
import { once } from "node:events";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const PEOPLE = {
  margaret: { preferred_username: "Margaret.Park@northwind.example", groups: ["Accounting", "Bowling"] },
  janet: { preferred_username: "janet", groups: ["Sales"] },
  guest: { preferred_username: "guest", groups: [] },
  andrew: { preferred_username: "andrew", groups: ["Sales"] },
};

const jwk = (type, options, alg) =>
  ({ ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), alg, use: "sig", kid: `${alg}-1` });

function clients() {
  const client = (id, alg, more = {}) => ({
    client_id: id,
    client_secret: `secret of ${id}, with signs: +/=&%`,
    redirect_uris: ["https://app.example/back"],
    grant_types: ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
    response_types: ["code"],
    scope: "openid profile groups",
    id_token_signed_response_alg: alg,
    ...more,
  });
  return [
    client("countersign", "RS256"),
    client("with-ps256", "PS256", { token_endpoint_auth_method: "client_secret_basic" }),
    client("with-es256", "ES256"),
    client("with-eddsa", "EdDSA"),
    client("public", "RS256", { token_endpoint_auth_method: "none", client_secret: undefined }),
  ];
}

async function start(tls) {
  const server = createServer(tls);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const issuer = `https://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: clients(),
    jwks: {
      keys: [
        jwk("rsa", { modulusLength: 2048 }, "RS256"),
        jwk("rsa", { modulusLength: 2048 }, "PS256"),
        jwk("ec", { namedCurve: "P-256" }, "ES256"),
        jwk("ed25519", {}, "EdDSA"),
      ],
    },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA"] },
    claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
    scopes: ["openid", "profile", "groups"],
    conformIdTokenClaims: false,
    cookies: { keys: ["a test's"] },
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_, id) => PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
  });
  server.on("request", provider.callback());
  return issuer;
}

const lines = createInterface({ input: process.stdin });
lines.once("line", async (line) => {
  const tls = JSON.parse(line);
  const issuers = [await start(tls), await start(tls)];
  process.stdout.write(`${JSON.stringify({ issuers })}\n`);
});
lines.once("close", () => process.exit(0));
