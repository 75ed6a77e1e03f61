// A real OpenID provider, oidc-provider, for one test: anybody signs in by a name alone.
// Arguments: where sign-ins may return to. Prints its issuer when it listens.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const server = createServer();
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "memo",
      client_secret: "open sesame",
      redirect_uris: process.argv.slice(2),
      response_types: ["code"],
      grant_types: ["authorization_code"],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  pkce: { required: () => true },
  // In the id_token, as Google has them.
  conformIdTokenClaims: false,
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["given_name", "family_name"],
  },
  cookies: { keys: ["for one test"] },
  findAccount: (_, name) => ({
    accountId: name,
    claims: () => ({
      sub: name,
      email: `${name}@example.com`,
      email_verified: true,
      given_name: "Grace",
      family_name: "Hopper",
    }),
  }),
});

server.on("request", provider.callback());
console.log(issuer);
// Ends with whoever started it, however that ends.
process.stdin.on("end", () => process.exit()).resume();
