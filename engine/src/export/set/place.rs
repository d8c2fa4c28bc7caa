//! Whether an export may go where it is to go, and what lies there.

use std::path::Path;

use super::files::{LOCK, MANIFEST, OWNER, PLAN, is_ours};
use super::manifest::Manifest;
use super::plan::Plan;
use super::request::{ExportPlace, ExportRequest, IfThere};
use super::{own, put_json};
use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::identity::Principal;
use crate::options::Access;
use crate::session::Session;
use crate::storage::{Root, Target};

/// What the place is called in messages.
pub(super) fn shown(place: &ExportPlace) -> &str {
    match place {
        ExportPlace::Elsewhere(text) => text,
        ExportPlace::Own { id, .. } => id,
    }
}

/// Opens the place, and says how many bytes there is room for.
pub(super) async fn open(
    engine: &Engine,
    who: &Principal,
    session: &Session,
    place: &ExportPlace,
) -> Result<(Target, u64)> {
    match place {
        ExportPlace::Own { id, bytes_max, .. } => {
            let left = own::room(engine, who, id, *bytes_max).await?;
            Ok((own::target(engine, &who.tenant, id)?, left))
        }
        ExportPlace::Elsewhere(text) => {
            session.require_outside(text)?;
            let access = Access::Writer { holder: "an export".to_owned() };
            Ok((Target::open(text, &access)?, u64::MAX))
        }
    }
}

/// The plan of what was begun there, where it is this; `None` where nothing is there. Fails where something else is.
pub(super) async fn begun(
    target: &Target,
    request: &ExportRequest,
    plan: &Plan,
) -> Result<Option<Plan>> {
    let (there, to) = (target.list().await?, shown(&request.to));
    if let Some(other) = there.keys().find(|name| !is_ours(name)) {
        let says = format!(
            "{to}: {other} lies there, which is no export's; expected an empty folder, or one with an export"
        );
        return Err(Error::user(Code::Conflict, says));
    }
    let of_files = there.keys().filter(|name| ![LOCK, OWNER].contains(&name.as_str()));
    if of_files.count() == 0 {
        return Ok(None);
    }
    let whole = there.contains_key(MANIFEST);
    let known = match target.get(PLAN).await? {
        Some(bytes) => serde_json::from_slice::<Plan>(&bytes).ok(),
        None => None,
    };
    if request.there == IfThere::Overwrite {
        // A file may have such a name and be of somebody else.
        if known.is_none() && !matches!(Manifest::of(target).await, Ok(Some(_))) {
            let says = format!(
                "{to}: what lies there looks like an export and says of itself that it is none; expected an empty folder, or one with an export"
            );
            return Err(Error::user(Code::Conflict, says));
        }
        if let Some(same) = known.filter(|known| !whole && known.is_of(plan)) {
            return Ok(Some(same));
        }
        // What is begun is known first, then nothing is whole, and then nothing is there.
        put_json(target, PLAN, plan).await?;
        target.remove(MANIFEST).await?;
        for name in there.keys().filter(|name| ![PLAN, LOCK, OWNER].contains(&name.as_str())) {
            target.remove(name).await?;
        }
        return Ok(None);
    }
    let refuse = |what: &str| {
        let says = format!("{to}: {what} lies there; expected another folder, or `overwrite`");
        Err(Error::user(Code::Conflict, says))
    };
    match known.filter(|known| known.is_of(plan)) {
        _ if whole => refuse("an export"),
        Some(known) => Ok(Some(known)),
        None => refuse("a part of another export"),
    }
}

impl Session {
    /// Fails where a file or folder would lie among those of the root, which would take it for its own.
    pub fn require_outside(&self, to: &str) -> Result<()> {
        let says =
            || format!("{to}: this lies in the root of the data; expected a place outside of it");
        if self.has_url(to) {
            return Err(Error::user(Code::BadInput, says()));
        }
        match (self.root_folder(), Root::folder_named(to)?) {
            (Some(root), Some(folder)) if is_within(root, &folder, to)? => {
                Err(Error::user(Code::BadInput, says()))
            }
            _ => Ok(()),
        }
    }
}

fn is_within(root: &Path, folder: &Path, to: &str) -> Result<bool> {
    let real = |path: &Path| {
        let mut known = std::path::absolute(path).ok()?;
        let mut rest = Vec::new();
        // What is not there yet has no real path.
        loop {
            if let Ok(real) = known.canonicalize() {
                return Some(rest.iter().rev().fold(real, |path, part| path.join(part)));
            }
            rest.push(known.file_name()?.to_owned());
            known.pop();
        }
    };
    let Some(folder) = real(folder) else {
        return Err(Error::user(Code::BadInput, format!("{to}: this is no path of a folder")));
    };
    Ok(real(root).is_some_and(|root| folder.starts_with(&root)))
}
