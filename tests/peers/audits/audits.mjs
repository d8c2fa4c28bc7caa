// Every audit of graphql-http: what servers MUST, SHOULD and MAY do. One that warns has not passed.

import { serverAudits } from "graphql-http";

const audits = serverAudits({ url: `${process.env.COLONNADE_ADDRESS}/graphql`, fetchFn: fetch });
let passed = 0;
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status === "ok") passed += 1;
  else console.error(`${result.status}: ${audit.id} ${audit.name}: ${result.reason}`);
}
console.log(`graphql-http: ${passed} of ${audits.length} audits`);
// Fewer than there were is another package, or none at all.
process.exit(passed === audits.length && passed >= 61 ? 0 : 1);
