// PostGraphile as its documentation sets it up for production, with its plugins for filters and aggregates.
const { createServer } = require("http");
const { postgraphile } = require("postgraphile");

const options = {
  appendPlugins: [
    require("postgraphile-plugin-connection-filter"),
    require("@graphile/pg-aggregates").default,
  ],
  dynamicJson: true,
  disableQueryLog: true,
  legacyRelations: "omit",
};
const server = createServer(postgraphile(process.argv[2], "public", options));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
