//! All calls of a model, page by page, of one version: the cursor says of which.

use crate::Failed;
use crate::documents::{Page, page};
use crate::http::Server;

pub fn pages(
    server: &Server,
    model: &str,
    mut take: impl FnMut(page::PageModelCalls) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut after = None;
    loop {
        let asked = page::Variables { model: model.to_owned(), after };
        let calls = server.ask::<Page>(asked)?.model_calls;
        let calls = calls.ok_or("there is no dataset model_calls yet")?;
        after = calls.page_info.end_cursor.clone().filter(|_| calls.page_info.has_next_page);
        take(calls)?;
        if after.is_none() {
            return Ok(());
        }
    }
}
