//! Detects that a root has lost its control database. Keys and the end of the audit chain are in that database. Without it, a
//! root would let everybody in and start a new audit chain. So the server refuses to start until an operator decides. Marks in
//! the root record what it had ([`engine::RootMark`]).

use engine::{Code, Error, Principal, Result, Role, RootMark};

use crate::audit::{NewAct, Outcome};
use crate::run::runner::Runner;

impl Runner {
    /// Fails with CONFLICT if the root had keys or an audit chain that the control database lacks. Otherwise sets the marks.
    pub async fn require_control_kept(&self) -> Result<()> {
        let lost = self.lost_control().await?;
        if lost.is_empty() {
            return Ok(());
        }
        let what: Vec<&str> = lost
            .iter()
            .map(|mark| match mark {
                RootMark::Keys => "keys",
                RootMark::Audit => "an audit chain",
            })
            .collect();
        Err(Error::user(
            Code::Conflict,
            format!(
                "control state: this root had {}, and its control database has none: the database was lost or replaced, or the \
                 setting `control` names another one. Nothing is served until this is decided: put the database back from its copy; \
                 or make new keys with `colonnade keys create`; or accept the loss with `colonnade keys accept-loss`, after which a \
                 root without keys is open to the local user",
                what.join(" and ")
            ),
        ))
    }

    /// Fails with STORAGE_UNAVAILABLE if the file of the control database was removed or replaced while this process had it
    /// open.
    pub fn require_control_there(&self) -> Result<()> {
        self.store().require_there().map_err(Into::into)
    }

    /// What the root had and the control database lacks. Also marks what the database has, for example from an earlier release.
    async fn lost_control(&self) -> Result<Vec<RootMark>> {
        let mut lost = Vec::new();
        for mark in RootMark::ALL {
            let is_there = match mark {
                RootMark::Keys => self.has_had_keys().await?,
                RootMark::Audit => self.store().has_chains().await?,
            };
            // With control state in memory, the audit chain continues from the dataset `audit`.
            if mark == RootMark::Audit && self.forgets() {
                continue;
            }
            match (is_there, self.engine().has_mark(mark).await?) {
                (true, false) => self.engine().set_mark(mark).await?,
                (false, true) => lost.push(mark),
                (true, true) | (false, false) => {}
            }
        }
        Ok(lost)
    }

    /// Accepts the loss of control state, and returns what was lost. The act is recorded: it continues the audit chain after
    /// the last row of the dataset.
    pub async fn accept_control_loss(&self, who: &Principal) -> Result<Vec<RootMark>> {
        who.require(Role::Admin)?;
        let lost = self.lost_control().await?;
        if lost.is_empty() {
            return Ok(lost);
        }
        let act = NewAct {
            via: "command line".to_owned(),
            field: "acceptControlLoss".to_owned(),
            arguments_sha256: NewAct::digest("{}"),
            ..NewAct::default()
        };
        let act = self.begin_act(who, act).await?;
        let cleared = async {
            for mark in lost.iter().filter(|mark| **mark == RootMark::Keys) {
                self.engine().clear_mark(*mark).await?;
            }
            Ok(())
        };
        let cleared: Result<()> = cleared.await;
        act.end(Outcome::of(&cleared), None).await;
        cleared.map(|()| lost)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use engine::Engine;

    use super::*;
    use crate::keys::KeyRequest;
    use crate::run::runner::RunnerOptions;
    use crate::testing::engine_at;

    async fn runner(engine: &Engine) -> Runner {
        let options = RunnerOptions { threads: 1, ..RunnerOptions::default() };
        Runner::start(engine.clone(), options).await.unwrap()
    }

    fn lose_control(folder: &Path) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.join(format!(".colonnade.control.db{end}")));
        }
    }

    fn key() -> KeyRequest {
        KeyRequest { subject: "a".into(), roles: vec![Role::Reader], ..KeyRequest::default() }
    }

    async fn act(runner: &Runner) {
        let act = NewAct { field: "something".into(), ..NewAct::default() };
        runner.begin_act(&Principal::local(), act).await.unwrap().end(Outcome::Done, None).await;
    }

    #[tokio::test]
    async fn a_root_that_lost_its_keys_serves_nothing_until_an_operator_decides() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine_at(folder.path()).await;
        let who = Principal::local();
        let first = runner(&engine).await;
        first.require_control_kept().await.unwrap();
        first.create_key(&who, key()).await.unwrap();
        first.require_control_kept().await.unwrap();
        first.shutdown().await;
        for decides_by_a_key in [true, false] {
            lose_control(folder.path());
            let runner = runner(&engine).await;
            let error = runner.require_control_kept().await.unwrap_err();
            assert_eq!(error.code(), Code::Conflict);
            assert!(error.to_string().contains("this root had keys"), "{error}");
            match decides_by_a_key {
                true => drop(runner.create_key(&who, key()).await.unwrap()),
                false => {
                    let lost = runner.accept_control_loss(&who).await.unwrap();
                    assert_eq!(lost, [RootMark::Keys]);
                }
            }
            runner.require_control_kept().await.unwrap();
            runner.shutdown().await;
        }
    }

    #[tokio::test]
    async fn a_root_that_lost_its_audit_chain_serves_nothing_until_an_operator_decides() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine_at(folder.path()).await;
        let who = Principal::local();
        let first = runner(&engine).await;
        act(&first).await;
        act(&first).await;
        first.require_control_kept().await.unwrap();
        first.shutdown().await;
        lose_control(folder.path());
        let second = runner(&engine).await;
        let error = second.require_control_kept().await.unwrap_err().to_string();
        assert!(error.contains("this root had an audit chain"), "{error}");
        assert_eq!(second.accept_control_loss(&who).await.unwrap(), [RootMark::Audit]);
        second.require_control_kept().await.unwrap();
        assert_eq!(second.accept_control_loss(&who).await.unwrap(), []);
        // The act is the third row of one chain.
        assert_eq!(second.verify_audit(&who, None).await.unwrap().acts, 3);
        second.shutdown().await;
    }
}
