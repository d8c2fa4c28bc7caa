// The rows that the clients look for.

import { calls, ingest } from "./server.mjs";

await ingest("model_calls", calls(0, 20));
