//! `colonnade schema`: the GraphQL schema of the tenant, as its definition language.

use engine::Result;

use super::{close, open_to_read};
use crate::config::Settings;
use crate::output::Output;

/// Prints the schema.
pub async fn schema(settings: &Settings, output: &Output) -> Result<()> {
    let engine = open_to_read(settings).await?;
    let sdl = graphql::sdl(&engine, &settings.principal()?).await;
    output.line(close(&engine, sdl).await?.trim_end())
}
