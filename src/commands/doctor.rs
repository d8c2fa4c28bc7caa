//! `colonnade doctor`: what is wrong with the tables of a root and with its control database, and what of it can be mended.

use engine::{Code, Error, Examined, Finding, FindingKind, Result};
use jobs::ControlState;

use super::{close, open_to_mend, open_to_read};
use crate::cli::Doctor;
use crate::config::Settings;
use crate::output::{Output, columns};

/// Examines every table of every tenant; damage that is not mended is this command's error.
pub async fn doctor(arguments: &Doctor, settings: &Settings, output: &Output) -> Result<()> {
    // A root that is not there is not made by looking for what is wrong with it.
    let mut engine = open_to_read(settings).await?;
    if arguments.repair {
        close(&engine, Ok(())).await?;
        engine = open_to_mend(settings, "colonnade doctor --repair").await?;
    }
    let examined = engine.examine(&settings.principal()?, arguments.repair).await;
    let control = settings.control();
    let control = jobs::examine_control(&engine, control.as_deref()).await;
    let examined = close(&engine, examined).await?;
    report(&examined, output)?;
    let has = |kind: FindingKind| {
        let is_it =
            move |table: &&Examined| table.findings.iter().any(|f| f.kind == kind && !f.mended);
        examined.iter().filter(is_it).count()
    };
    let (damaged, unknown) = (has(FindingKind::Damage), has(FindingKind::Unknown));
    // What is wrong with the database alone is this command's error.
    if !output.is_json() && (control.is_ok() || damaged + unknown > 0) {
        output.line(&says_of(&control))?;
    }
    if damaged == 0 && unknown > 0 {
        let all = examined.len();
        let says =
            format!("{unknown} of {all} tables could not be examined; the store says why above");
        return Err(Error::user(Code::StorageUnavailable, says));
    }
    let is_hopeless = |finding: &Finding| finding.remedy.starts_with("none");
    let all_hopeless = examined
        .iter()
        .flat_map(|table| &table.findings)
        .filter(|finding| finding.kind == FindingKind::Damage)
        .all(is_hopeless);
    let says = match (damaged, arguments.repair) {
        (0, _) => return control.map(drop),
        (_, false) if all_hopeless => ", and --repair can do nothing for them",
        (_, false) => "; --repair does what is said above, but where it says none",
        (_, true) => ", and are not mended",
    };
    Err(Error::user(
        Code::StorageUnavailable,
        format!("{damaged} of {} tables are damaged{says}", examined.len()),
    ))
}

/// What is said of the control database.
fn says_of(control: &Result<Option<ControlState>>) -> String {
    match control {
        Ok(None) => "there is no control database".to_owned(),
        Ok(Some(state)) => format!(
            "the control database is sound: {} runs are open, {} schedules",
            state.open_runs, state.schedules
        ),
        Err(error) => error.to_string(),
    }
}

fn report(examined: &[Examined], output: &Output) -> Result<()> {
    if output.is_json() {
        return output.document(&examined);
    }
    let rows: Vec<Vec<String>> = examined
        .iter()
        .flat_map(|table| {
            table.findings.iter().map(move |finding| {
                vec![
                    format!("{}/{}", table.tenant, table.dataset),
                    kind(finding.kind).to_owned(),
                    finding.found.clone(),
                    finding.remedy.clone(),
                    if finding.mended { "done".to_owned() } else { String::new() },
                ]
            })
        })
        .collect();
    if rows.is_empty() {
        return output.line(&format!("{} tables, nothing is wrong with any", examined.len()));
    }
    output.line(&columns(&["table", "kind", "found", "remedy", ""], &rows))?;
    let is_damage = |finding: &Finding| finding.kind == FindingKind::Damage;
    for table in examined.iter().filter(|table| table.findings.iter().any(is_damage)) {
        output.line(&counts(table))?;
    }
    if examined.iter().flat_map(|table| &table.findings).any(|f| is_damage(f) && f.mended) {
        output.line(
            "run `colonnade doctor` again to see that nothing is left, then start the server",
        )?;
    }
    Ok(())
}

/// What became of the rows of a damaged table.
fn counts(table: &Examined) -> String {
    let count = |rows: Option<u64>, unknown: &str| {
        rows.map_or_else(|| unknown.to_owned(), |rows| rows.to_string())
    };
    let before = count(table.rows_committed, "an unknown number of");
    let now = count(table.rows, "an unknown number");
    format!("{}/{}: {before} rows were committed, {now} can be read", table.tenant, table.dataset)
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Damage => "damage",
        FindingKind::Unknown => "unknown",
        FindingKind::Oddity => "oddity",
        FindingKind::Waste => "waste",
    }
}
