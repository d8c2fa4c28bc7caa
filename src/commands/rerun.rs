//! `colonnade rerun`: the work of a run that ended, again.

use engine::{Code, Error, Result};
use jobs::{Rerun as Again, RunRequest};

use super::run::{Work, report, run_to_end, succeeded};
use super::runs::{named, recorded};
use super::schedules::with_runner_of;
use super::{close, open_to_run};
use crate::cli::Rerun;
use crate::config::Settings;
use crate::output::{Output, columns, count};

const LABEL: &str = "colonnade rerun";

/// Runs it again; rows that come out other than they did are this command's error.
pub async fn rerun(arguments: Rerun, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    if arguments.as_it_was {
        let engine = open_to_run(settings, LABEL).await?;
        let record = match recorded(&engine, settings, &arguments.run).await {
            Ok(id) => run_to_end(&engine, settings, Work::AsItWas(id), output).await,
            Err(error) => Err(error),
        };
        let record = close(&engine, record).await?;
        return tell(&Again::of(&succeeded(record)?)?, output);
    }
    let engine = open_to_run(settings, LABEL).await?;
    let record = async {
        let ended = with_runner_of(&engine, settings, LABEL, async |runner| {
            runner.get(&who, named(runner, &who, &arguments.run).await?).await
        });
        let ended = ended.await?;
        if ended.params.is_null() {
            let says = format!(
                "rerun {}: its parameters are not known, since it was rebuilt from its commits; `colonnade run {}` takes them",
                ended.id, ended.job
            );
            return Err(Error::user(Code::Conflict, says));
        }
        let gpu = Some(settings.gpu()?);
        let request =
            RunRequest { job: ended.job, params: ended.params, gpu, ..RunRequest::default() };
        run_to_end(&engine, settings, Work::New(Box::new(request)), output).await
    };
    let record = record.await;
    let record = close(&engine, record).await?;
    report(&record, output)
}

fn tell(again: &Again, output: &Output) -> Result<()> {
    if output.is_json() {
        output.document(again)?;
    } else {
        let rows: Vec<Vec<String>> = (again.outputs.iter())
            .map(|of| {
                let says = match (of.recorded == of.found, of.differing.is_empty()) {
                    (true, _) => "the same".to_owned(),
                    (false, true) => "other rows of the same values".to_owned(),
                    (false, false) => format!("other values in {}", of.differing.join(", ")),
                };
                let digest = of.found.digest.to_string();
                let digest: String = digest.chars().take(12).collect();
                let rows = [of.recorded.rows, of.found.rows].map(count);
                vec![of.dataset.to_string(), rows[0].clone(), rows[1].clone(), digest, says]
            })
            .collect();
        output
            .line(&columns(&["dataset", "rows then", "rows now", "digest", "they are"], &rows))?;
    }
    match again.is_same {
        true => Ok(()),
        false => Err(Error::user(
            Code::Conflict,
            format!("run {} of {} came out other than it did", again.run, again.job),
        )),
    }
}
