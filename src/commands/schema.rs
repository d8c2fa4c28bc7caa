//! `colonnade schema`: the GraphQL schema of the tenant, as its definition language or as a page to read.

use engine::Result;

use super::{close, open_to_read};
use crate::config::Settings;
use crate::output::Output;

/// Prints the schema.
pub async fn schema(settings: &Settings, is_page: bool, output: &Output) -> Result<()> {
    let engine = open_to_read(settings).await?;
    let who = settings.principal()?;
    let text = match is_page {
        true => graphql::reference(&engine, &who).await,
        false => graphql::sdl(&engine, &who).await,
    };
    output.line(close(&engine, text).await?.trim_end())
}
