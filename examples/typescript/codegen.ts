import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../schema.graphql",
  documents: "../calls.graphql",
  generates: {
    "src/calls.ts": {
      plugins: ["typescript-operations", "typed-document-node"],
      config: {
        // A scalar that is not named here is an error, and not `any`. 64-bit integers and decimals are strings in JSON,
        // so that no digit is lost.
        strictScalars: true,
        scalars: {
          BigInt: "string",
          Bytes: "string",
          Date: "string",
          DateTime: "string",
          Decimal: "string",
          Duration: "string",
          JSON: "unknown",
          Vector: "number[]",
        },
        useTypeImports: true,
      },
    },
  },
};

export default config;
