// All calls of a model, page by page, of one version: the cursor says of which.

import { PageDocument, type PageQuery } from "./calls.js";
import { ask, Refused } from "./http.js";

export type Calls = NonNullable<PageQuery["modelCalls"]>;

export async function* pages(model: string): AsyncGenerator<Calls> {
  let after: string | null = null;
  do {
    const { modelCalls }: PageQuery = await ask(PageDocument, { model, after });
    if (!modelCalls) throw new Refused("there is no dataset model_calls yet");
    yield modelCalls;
    after = modelCalls.pageInfo.hasNextPage ? modelCalls.pageInfo.endCursor : null;
  } while (after !== null);
}
