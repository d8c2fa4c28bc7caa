//! Files that somebody else made of rows, such as the pages of a report, as an export of the root.

use sha2::{Digest as _, Sha256};

use super::files::is_page;
use super::manifest::{Described, File, Manifest, Pinned};
use super::request::ExportPlace;
use super::work::{Owner, Room};
use super::{Contents, Writer, ended, own, place};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::export::Packing;
use crate::grants::hex;
use crate::identity::Principal;
use crate::session::Session;

/// What was made.
#[derive(Clone, Debug)]
pub struct MadeFiles {
    /// What it is called.
    pub form: String,
    /// What it is of, as it was asked for.
    pub of: String,
    /// The datasets that were read, each at its version.
    pub datasets: Vec<Pinned>,
    /// The files by their names: `report.html`.
    pub files: Vec<(String, Vec<u8>)>,
    /// The run that made them.
    pub run_id: String,
}

/// Puts what was made of what `session` sees, which is one of `who`, where exports of the root lie.
pub async fn export_made(
    engine: &Engine,
    who: &Principal,
    session: &Session,
    to: &ExportPlace,
    made: MadeFiles,
) -> Result<Manifest> {
    if !matches!(to, ExportPlace::Own { .. }) {
        return Err(Error::internal("files that were made are kept in the root"));
    }
    let (target, left) = place::open(engine, who, session, to).await?;
    if let Some(whole) = own::made_before(&target, to, Some(&made.run_id)).await? {
        return Ok(whole);
    }
    let owner = Owner::take(&target).await?;
    let room = Room::new(left);
    let mut files = Vec::with_capacity(made.files.len());
    for (name, bytes) in made.files {
        if !is_page(&name) {
            return Err(Error::internal(format!("{name:?} is no name of a page")));
        }
        room.take(bytes.len() as u64)?;
        let (sha256, size) = (hex(&Sha256::digest(&bytes)), bytes.len() as u64);
        target.put(&name, bytes).await?;
        files.push(File { name, rows: 0, bytes: size, sha256 });
    }
    let contents = Contents {
        source: Described { report: Some(made.of), ..Described::default() },
        datasets: made.datasets,
        form: made.form,
        packing: Packing::None.name().to_owned(),
        files,
        ..Contents::default()
    };
    let writer = Writer { who, session, to, run_id: Some(&made.run_id) };
    ended(&target, &owner, &writer, contents).await
}
