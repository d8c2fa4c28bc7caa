//! `colonnade audit`: what was done by whom, gone along from the first act to the last.

use engine::{Code, Error, Result};

use super::schedules::with_runner;
use crate::cli::{Audit, AuditCommand};
use crate::config::Settings;
use crate::output::{Output, count};

/// Verifies.
pub async fn audit(arguments: Audit, settings: &Settings, output: &Output) -> Result<()> {
    let AuditCommand::Verify(asked) = arguments.command;
    let expected = asked.expect.as_deref().map(noted).transpose()?;
    with_runner(settings, "colonnade audit", async |runner| {
        let found = runner.verify_audit(&settings.principal()?, expected).await?;
        if output.is_json() {
            return output.document(&found);
        }
        let acts = count(u64::try_from(found.acts).unwrap_or_default());
        output.line(&format!("{acts} acts, all as they were written, up to {}:{}", found.acts, found.head))?;
        if !found.end_is_known {
            output.note(
                "control state knows of none of them: some may be missing at the end, unless --expect names the last as it was noted",
            );
        }
        Ok(())
    })
    .await
}

/// Reads `12:5e88…`.
fn noted(text: &str) -> Result<(i64, &str)> {
    let noted = text.split_once(':').and_then(|(number, hash)| {
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some((number.parse().ok().filter(|number| *number > 0)?, hash)).filter(|_| is_hash)
    });
    noted.ok_or_else(|| {
        let says = format!(
            "--expect {text:?}: expected NUMBER:HASH, as `colonnade audit verify` prints them"
        );
        Error::user(Code::BadInput, says)
    })
}
