//! The operations of `calls.graphql`, with types by the schema of the server.

use graphql_client::GraphQLQuery;

// 64-bit integers and decimals are strings in JSON, so that no digit is lost.
type BigInt = String;
type Decimal = String;
type DateTime = String;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../schema.graphql",
    query_path = "../calls.graphql",
    response_derives = "Debug, Serialize"
)]
pub struct Page;

#[derive(GraphQLQuery)]
#[graphql(schema_path = "../schema.graphql", query_path = "../calls.graphql")]
pub struct Newest;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../schema.graphql",
    query_path = "../calls.graphql",
    response_derives = "Debug, Serialize"
)]
pub struct Follow;
