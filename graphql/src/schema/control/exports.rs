//! `exports`, `export(id:)`, and the mutations that make and delete one: rows as files that are downloaded.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, TypeRef,
};
use chrono::{TimeDelta, Utc};
use datasets::DatasetName;
use engine::{AsOf, Code, ExportsFile, Manifest, Principal, Result, Role, RunId, TenantId};
use jobs::{RunRecord, RunRequest, RunState};

use super::super::connection::{AS_OF, rows_asked};
use super::super::resolve::{argument, nullable, object, objects, part, state, text_argument};
use super::super::scalars;
use super::runs::{required_run_id, state_value, waited_for};
use super::{big, instant, json as json_value, optional_instant};
use crate::downloads::Download;
use crate::error::{bad_input, to_graphql};
use crate::plan::as_of::as_of;
use crate::service::ServiceInner;

pub(super) const EXPORT: &str = "Export";
const FILE: &str = "ExportFile";
const FORMAT: &str = "ExportFormat";
const PACKING: &str = "ExportPacking";

/// Exports that `exports` gives when `first` is absent, and most.
const EXPORTS_DEFAULT: usize = 20;
const EXPORTS_MAX: usize = 100;

/// How long a link is good when nothing is said, and longest, in seconds.
const LINK_SECONDS: i64 = 3_600;
const LINK_SECONDS_MAX: i64 = 7 * 86_400;

/// An export: its run, and what it holds once it is whole.
#[derive(Clone)]
struct Exported {
    tenant: TenantId,
    run: RunRecord,
    manifest: Option<Arc<Manifest>>,
}

/// A file of one.
struct ExportedFile {
    tenant: TenantId,
    export: String,
    file: ExportsFile,
}

/// `ExportFormat`, `ExportPacking`.
pub(crate) fn enums() -> [Enum; 2] {
    let format = Enum::new(FORMAT)
        .description("What the files of an export are.")
        .item(EnumItem::new("PARQUET"))
        .item(EnumItem::new("CSV"))
        .item(EnumItem::new("NDJSON").description("A JSON object in each line."))
        .item(EnumItem::new("JSON").description("One JSON array."))
        .item(EnumItem::new("ARROW").description("Arrow's file, also called Feather."))
        .item(EnumItem::new("ARROW_STREAM"))
        .item(EnumItem::new("XLSX").description("Workbooks of one sheet, of up to 1048575 rows."));
    let packing = Enum::new(PACKING)
        .description("How the files of an export are packed.")
        .item(EnumItem::new("NONE"))
        .item(EnumItem::new("GZIP"))
        .item(EnumItem::new("ZSTD"));
    [format, packing]
}

/// `Export`, `ExportFile`.
pub(crate) fn types() -> [Object; 2] {
    [export_type(), file_type()]
}

fn export_type() -> Object {
    let of_manifest = |name: &'static str, kind, show: fn(&Manifest) -> Result<Value>| {
        part(name, kind, move |export: &Exported| {
            export.manifest.as_deref().map_or(Ok(Value::Null), show)
        })
    };
    Object::new(EXPORT)
        .description(
            "Rows as files, in a place of the server's own. It is whole, and has files, once its run has succeeded, until it expires.",
        )
        .field(part("id", TypeRef::named_nn(TypeRef::ID), |export: &Exported| {
            Ok(export.run.id.to_string().into())
        }))
        .field(part("state", TypeRef::named_nn("RunState"), |export: &Exported| {
            Ok(state_value(export.run.state))
        }))
        .field(
            object("run", TypeRef::named_nn("Run"), |export: &Exported| export.run.clone())
                .description("The run that writes it: progress, what it reads, and why it failed."),
        )
        .field(part("requestedBy", TypeRef::named_nn(TypeRef::STRING), |export: &Exported| {
            Ok(export.run.requested_by.as_str().into())
        }))
        .field(part(
            "requestedAt",
            TypeRef::named_nn(scalars::DATE_TIME),
            |export: &Exported| Ok(instant(&export.run.requested_at)),
        ))
        .field(
            of_manifest("expiresAt", TypeRef::named(scalars::DATE_TIME), |manifest| {
                Ok(optional_instant(manifest.expires_at.as_ref()))
            })
            .description("When its files are removed."),
        )
        .field(of_manifest("rows", TypeRef::named(scalars::BIG_INT), |m| Ok(big(m.rows))))
        .field(of_manifest("bytes", TypeRef::named(scalars::BIG_INT), |m| Ok(big(m.bytes))))
        .field(
            of_manifest("manifest", TypeRef::named(scalars::JSON), |m| json_value(m)).description(
                "What it holds, as `_manifest.json` says it: datasets at versions, the condition, columns with units, who and when.",
            ),
        )
        .field(
            objects("files", TypeRef::named_nn_list_nn(FILE), |export: &Exported| {
                let manifest = export.manifest.as_deref();
                let files = manifest.map_or_else(Vec::new, |manifest| manifest.files.clone());
                let file = |file| ExportedFile {
                    tenant: export.tenant.clone(),
                    export: export.run.id.to_string(),
                    file,
                };
                files.into_iter().map(file).collect()
            })
            .description("Its files; none, where it is not whole, or no more."),
        )
}

fn file_type() -> Object {
    Object::new(FILE)
        .description("A file of an export.")
        .field(part("name", TypeRef::named_nn(TypeRef::STRING), |file: &ExportedFile| {
            Ok(file.file.name.as_str().into())
        }))
        .field(part("rows", TypeRef::named_nn(scalars::BIG_INT), |file: &ExportedFile| {
            Ok(big(file.file.rows))
        }))
        .field(part("bytes", TypeRef::named_nn(scalars::BIG_INT), |file: &ExportedFile| {
            Ok(big(file.file.bytes))
        }))
        .field(
            part("sha256", TypeRef::named_nn(TypeRef::STRING), |file: &ExportedFile| {
                Ok(file.file.sha256.as_str().into())
            })
            .description("Of its bytes, in hexadecimal digits."),
        )
        .field(
            part("path", TypeRef::named_nn(TypeRef::STRING), |file: &ExportedFile| {
                Ok(file.of().path().into())
            })
            .description("Where it is on this server, for who shows by a header who they are."),
        )
        .field(url_field())
}

impl ExportedFile {
    fn of(&self) -> Download {
        Download { export: self.export.clone(), file: self.file.name.clone() }
    }
}

fn url_field() -> Field {
    Field::new("url", TypeRef::named_nn(TypeRef::STRING), |context| {
        FieldFuture::new(async move {
            let url = async {
                let file = context.parent_value.downcast_ref::<ExportedFile>();
                let file = file.ok_or_else(|| bad_input("url: this is no file"))?;
                let seconds = match argument(&context, "expiresIn") {
                    None => LINK_SECONDS,
                    Some(Value::Number(number)) => number.as_i64().unwrap_or_default(),
                    Some(_) => 0,
                };
                if !(1..=LINK_SECONDS_MAX).contains(&seconds) {
                    return Err(bad_input(format!(
                        "expiresIn: expected 1 to {LINK_SECONDS_MAX} seconds, found {seconds}"
                    )));
                }
                let secret = state(context.ctx)?.service().link_secret().await?;
                let until = Utc::now() + TimeDelta::seconds(seconds);
                Ok(file.of().link(secret, &file.tenant, until))
            };
            match url.await {
                Ok(url) => Ok(Some(FieldValue::value(url))),
                Err(error) => Err(to_graphql(&error)),
            }
        })
    })
    .description(
        "A link to it on this server, for whoever has it: who takes the file by it shows nothing else. It says `Range` and `ETag` as \
         files do.",
    )
    .argument(
        InputValue::new("expiresIn", TypeRef::named(TypeRef::INT))
            .description("For how many seconds it is good: 1 to 604800. An hour when absent."),
    )
}

/// The query field `exports`.
pub(crate) fn exports_field() -> Field {
    Field::new("exports", TypeRef::named_nn_list(EXPORT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who_in_part(Role::Reader)?;
            let limits = &state.service().limits;
            let limit = argument(&context, "first");
            let limit = rows_asked("first", limit.as_ref(), EXPORTS_DEFAULT, limits)?;
            let limit = limit.min(EXPORTS_MAX);
            let before = text_argument(&context, "before").map(|id| id.parse()).transpose()?;
            let service = state.service();
            let mut exports = Vec::new();
            let looking = inner.look_ahead();
            let of_manifest = ["files", "rows", "bytes", "manifest", "expiresAt"];
            let is_looked_into = of_manifest.iter().any(|name| looking.field(name).exists());
            for run in service.runner.exports(who, limit, before).await? {
                let export = match is_looked_into {
                    true => exported(service, who, run).await?,
                    false => {
                        let run = if who.grants.is_all() { run } else { without_counts(run) };
                        Exported { tenant: who.tenant.clone(), run, manifest: None }
                    }
                };
                exports.push(FieldValue::owned_any(export));
            }
            Ok(Some(FieldValue::list(exports)))
        })
    })
    .description("Exports, newest first: all of the tenant, or of who sees a part of it their own.")
    .argument(
        InputValue::new("first", TypeRef::named(TypeRef::INT))
            .description("Exports at most: 20 when absent, 100 at most."),
    )
    .argument(
        InputValue::new("before", TypeRef::named(TypeRef::ID))
            .description("Only those that were asked for before this one."),
    )
}

/// The query field `export`.
pub(crate) fn export_field() -> Field {
    Field::new("export", TypeRef::named(EXPORT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who_in_part(Role::Reader)?;
            let run = state.service().runner.export_run(who, required_run_id(&context)?).await?;
            Ok(Some(FieldValue::owned_any(exported(state.service(), who, run).await?)))
        })
    })
    .description("One export.")
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
}

/// A run, and what it made where that is there and may be seen.
async fn exported(service: &ServiceInner, who: &Principal, run: RunRecord) -> Result<Exported> {
    let manifest = match run.state {
        RunState::Succeeded => match service.engine.exported(who, &run.id.to_string()).await {
            Ok(manifest) => Some(Arc::new(manifest)),
            Err(error) if error.code() == Code::NotFound => None,
            Err(error) => return Err(error),
        },
        _ => None,
    };
    let run = match who.grants.is_all() || manifest.is_some() {
        true => run,
        // Who asked for it may have seen more than they do now.
        false => without_counts(run),
    };
    Ok(Exported { tenant: who.tenant.clone(), run, manifest })
}

/// A run that tells nothing of how many rows there are.
fn without_counts(mut run: RunRecord) -> RunRecord {
    run.summary = serde_json::Value::Null;
    run.activity = serde_json::Value::Null;
    run.estimate = None;
    run.stages.clear();
    run.attempts.clear();
    for input in &mut run.inputs {
        input.rows = None;
    }
    run
}

/// The mutations.
pub(crate) fn mutations() -> [Field; 2] {
    let create = Field::new("createExport", TypeRef::named(EXPORT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who_in_part(Role::Reader)?;
            create(&context, who).await.map(Some)
        })
    })
    .description(
        "Writes a dataset, or the rows of a query, to files that are downloaded: a run of the job `export`. Who sees a part of the \
         tenant gets that part. Needs the role reader.",
    )
    .argument(
        InputValue::new("dataset", TypeRef::named(TypeRef::STRING))
            .description("The dataset; this or `sql` must be said."),
    )
    .argument(
        InputValue::new("sql", TypeRef::named(TypeRef::STRING)).description("The query, in SQL."),
    )
    .argument(
        InputValue::new("where", TypeRef::named(TypeRef::STRING))
            .description("Which rows of the dataset: a condition in SQL, such as `cost > 0.01`."),
    )
    .argument(
        InputValue::new("columns", TypeRef::named_nn_list(TypeRef::STRING))
            .description("Which columns of the dataset, in this order, as SQL names them."),
    )
    .argument(InputValue::new("groupBy", TypeRef::named_nn_list(TypeRef::STRING)).description(
        "What rows of the dataset are grouped by, instead of being written: in SQL, such as `CAST(opened AS DATE) AS day`.",
    ))
    .argument(InputValue::new("measures", TypeRef::named_nn_list(TypeRef::STRING)).description(
        "What is written of each group, or of all rows: in SQL, such as `count(*) AS n`.",
    ))
    .argument(
        InputValue::new("asOf", TypeRef::named(AS_OF))
            .description("The version of the dataset; the newest when absent."),
    )
    .argument(InputValue::new("since", TypeRef::named(TypeRef::INT)).description(
        "The version since which changes are written, instead of all rows: with a column `_change_type`, `insert` or `delete`.",
    ))
    .argument(
        InputValue::new("format", TypeRef::named(FORMAT)).description("PARQUET when absent."),
    )
    .argument(
        InputValue::new("packing", TypeRef::named(PACKING))
            .description("ZSTD for Parquet when absent, NONE for others."),
    )
    .argument(InputValue::new("escapeFormulas", TypeRef::named(TypeRef::BOOLEAN)).description(
        "In CSV, whether texts that spreadsheets would compute get a `'`.",
    ))
    .argument(
        InputValue::new("partitionBy", TypeRef::named_nn_list(TypeRef::STRING))
            .description("Columns whose values become folders: `model=a/`."),
    )
    .argument(
        InputValue::new("fileRows", TypeRef::named(TypeRef::INT))
            .description("Most rows of a file. 1000000 when absent."),
    )
    .argument(keep_days_argument())
    .argument(wait_argument());
    let delete = Field::new("deleteExport", TypeRef::named(EXPORT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who_in_part(Role::Reader)?;
            let id = required_run_id(&context)?;
            let deleted = state.service().runner.delete_export(who, id);
            let run = state.wait_for(deleted).await??;
            let tenant = who.tenant.clone();
            Ok(Some(FieldValue::owned_any(Exported { tenant, run, manifest: None })))
        })
    })
    .description(
        "Removes the files of an export, and ends it where it is being written; its links are good no more. Who had it made may, and \
         operators.",
    )
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)));
    [create, delete]
}

/// `keepDays`.
pub(super) fn keep_days_argument() -> InputValue {
    InputValue::new("keepDays", TypeRef::named(TypeRef::INT))
        .description("For how many days it is kept. 7 when absent.")
}

/// `wait`.
pub(super) fn wait_argument() -> InputValue {
    InputValue::new("wait", TypeRef::named(TypeRef::BOOLEAN)).description(
        "Answer when it is whole, or has failed. One that takes longer than the server's bound is answered as it then is.",
    )
}

async fn create<'a>(context: &ResolverContext<'a>, who: &Principal) -> Result<FieldValue<'a>> {
    let params = [
        ("dataset", "dataset"),
        ("sql", "sql"),
        ("where", "where"),
        ("columns", "columns"),
        ("groupBy", "group_by"),
        ("measures", "measures"),
        ("since", "since"),
        ("format", "format"),
        ("packing", "packing"),
        ("escapeFormulas", "escape_formulas"),
        ("partitionBy", "partition_by"),
        ("fileRows", "file_rows"),
        ("keepDays", "keep_days"),
    ];
    let dataset = text_argument(context, "dataset");
    let pins = match (argument(context, "asOf"), dataset) {
        (None, _) => Vec::new(),
        (Some(at), Some(dataset)) => vec![(DatasetName::new(&dataset)?, as_of(Some(&at))?)],
        (Some(_), None) => {
            return Err(bad_input("createExport.asOf: it goes with `dataset`"));
        }
    };
    exported_by(context, who, "createExport", "export", &params, pins).await
}

/// What a run of `job` exports, of which the arguments say the parameters: each under its name there.
pub(super) async fn exported_by<'a>(
    context: &ResolverContext<'a>,
    who: &Principal,
    field: &'static str,
    job: &str,
    params: &[(&str, &str)],
    pins: Vec<(DatasetName, AsOf)>,
) -> Result<FieldValue<'a>> {
    let state = state(context.ctx)?;
    let service = state.service();
    let mut said = serde_json::Map::new();
    for (name, param) in params {
        let Some(value) = argument(context, name) else { continue };
        // Of one that stands alone the client may leave the brackets out.
        let is_list = matches!(*name, "columns" | "partitionBy" | "groupBy" | "measures" | "pages");
        let value = match value {
            value if is_list && !matches!(value, Value::List(_)) => Value::List(vec![value]),
            value => value,
        };
        let is_enum = matches!(*name, "format" | "packing" | "pages" | "paper");
        let value = if is_enum { words(value) } else { value };
        let value = value.into_json();
        let value = value.map_err(|error| bad_input(format!("{field}.{name}: {error}")))?;
        said.insert((*param).to_owned(), value);
    }
    let request =
        RunRequest { job: job.to_owned(), params: said.into(), pins, ..RunRequest::default() };
    let handle = service.runner.submit(who, request).await?;
    let id: RunId = handle.id();
    state.done_to(field, &id.to_string());
    let run = match waited_for(context, handle).await? {
        Some(ended) => ended,
        None => service.runner.export_run(who, id).await?,
    };
    Ok(FieldValue::owned_any(exported(service, who, run).await?))
}

/// Values of enums as jobs write them; of variables they are texts.
fn words(value: Value) -> Value {
    match value {
        Value::Enum(word) => Value::String(word.to_lowercase()),
        Value::String(word) => Value::String(word.to_lowercase()),
        Value::List(values) => Value::List(values.into_iter().map(words).collect()),
        value => value,
    }
}
