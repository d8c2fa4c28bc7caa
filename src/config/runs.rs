//! Settings of runs: how many, whose, and what they cost.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Result, TenantId};
use jobs::{Prices, ProgramsUser, Quotas};

use super::{Settings, bad};

/// Runs that one process works at at a time, at most: each has its part of the memory.
const RUNS_AT_A_TIME_MAX: usize = 256;

/// The file that lists the users of the system.
const USERS: &str = "/etc/passwd";

/// A user by name, or as `UID:GID`. `known` is the content of `/etc/passwd`.
fn user_of(text: &str, known: &str) -> Option<ProgramsUser> {
    let of = |id: &str, group: &str| {
        Some(ProgramsUser { id: id.parse().ok()?, group: group.parse().ok()? })
    };
    if let Some((id, group)) = text.split_once(':') {
        return of(id, group);
    }
    known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(text);
        let (id, group) = (fields.nth(1)?, fields.next()?);
        of(id, group).filter(|_| is_it)
    })
}

impl Settings {
    /// What an hour costs, by device.
    pub fn prices(&self) -> Result<Prices> {
        self.text("prices").parse()
    }

    /// What the runs of a tenant may take.
    pub fn quotas(&self) -> Result<Quotas> {
        self.text("quotas").parse()
    }

    /// The user that programs of `exec` run as, if it differs from the user of this process.
    pub fn programs_user(&self) -> Result<Option<ProgramsUser>> {
        let text = self.text("programs_user");
        if text.is_empty() {
            return Ok(None);
        }
        let known = std::fs::read_to_string(USERS).unwrap_or_default();
        let user = user_of(text, &known);
        user.map(Some).ok_or_else(|| {
            self.wrong("programs_user", "UID:GID, or the name of a user in /etc/passwd")
        })
    }

    /// How long a try of a run may take.
    pub fn run_time(&self) -> Result<Option<Duration>> {
        match self.text("run_time") {
            "" => Ok(None),
            text => {
                let time = crate::cli::time(text).ok().and_then(|time| time.to_std().ok());
                time.map(Some)
                    .ok_or_else(|| self.wrong("run_time", "a time such as 90s, 15m, 6h or 1d"))
            }
        }
    }

    /// How many runs of a job kind may be at work at a time.
    pub fn job_limits(&self) -> Result<BTreeMap<String, usize>> {
        let expected = "JOB=RUNS with at least one run, such as embedder_train=1";
        let limits = self.numbers::<usize>("job_limits", 1, expected)?;
        for job in limits.keys() {
            jobs::kind(job).map_err(|e| bad(format!("setting job_limits: {e}")))?;
        }
        Ok(limits)
    }

    /// How many parts of the work a tenant has.
    pub fn weights(&self) -> Result<BTreeMap<TenantId, u32>> {
        let expected = "TENANT=PARTS from 1 to 1000, such as acme=3";
        let weights = self.numbers::<u32>("weights", 1, expected)?.into_iter();
        weights
            .map(|(tenant, parts)| match (tenant.parse::<TenantId>(), parts) {
                (Ok(tenant), 1..=1000) => Ok((tenant, parts)),
                _ => Err(self.wrong("weights", expected)),
            })
            .collect()
    }

    /// Reads `NAME=NUMBER, NAME=NUMBER`.
    fn numbers<T: std::str::FromStr + PartialOrd>(
        &self,
        name: &'static str,
        least: T,
        expected: &str,
    ) -> Result<BTreeMap<String, T>> {
        let mut numbers = BTreeMap::new();
        for part in self.text(name).split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let read = part.split_once('=').and_then(|(of, number)| {
                let number = number.trim().parse::<T>().ok().filter(|number| *number >= least)?;
                Some((of.trim().to_owned(), number))
            });
            let (of, number) = read.ok_or_else(|| self.wrong(name, expected))?;
            if numbers.insert(of.clone(), number).is_some() {
                return Err(bad(format!("setting {name}: {of} is named twice")));
            }
        }
        Ok(numbers)
    }

    /// Runs that a server works at at a time.
    pub fn workers(&self) -> Result<usize> {
        self.runs("workers", 0)
    }

    /// Runs that a worker works at at a time.
    pub fn concurrent(&self) -> Result<usize> {
        self.runs("concurrent", 1)
    }

    fn runs(&self, name: &'static str, least: usize) -> Result<usize> {
        let runs = self.text(name).parse().ok();
        let runs = runs.filter(|runs| (least..=RUNS_AT_A_TIME_MAX).contains(runs));
        runs.ok_or_else(|| self.wrong(name, &format!("{least} to {RUNS_AT_A_TIME_MAX} runs")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_two_numbers() {
        let known = "root:x:0:0:root:/root:/bin/sh\nbroken\nprograms:x:990:991::/nonexistent:/usr/sbin/nologin\n";
        let user = |id, group| Some(ProgramsUser { id, group });
        assert_eq!(user_of("programs", known), user(990, 991));
        assert_eq!(user_of("12:34", known), user(12, 34));
        for wrong in ["program", "12", "a:b", "-1:2", ":"] {
            assert_eq!(user_of(wrong, known), None, "{wrong}");
        }
    }
}
