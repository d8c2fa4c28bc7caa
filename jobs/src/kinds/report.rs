//! `report`: asks the queries of a template, and keeps the pages that it makes of the answers in the root, as an export is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, MadeFiles, Result};
use futures::future::BoxFuture;
use reports::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::export::require_keep_days;
use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::report::{Page, datasets, made, required_datasets, template};
use crate::run::context::RunContext;

/// The kind's name.
pub const NAME: &str = "report";
/// Longest that its queries take: whoever may read has them asked, and others wait for the place.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Which report, of what, on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// A report that is ready: `operations-week`, `model-costs`, `data-quality`; this or `template` must be said. Default: none.
    pub name: Option<String>,
    /// A template in TOML. Default: none.
    pub template: Option<String>,
    /// Values of the template's parameters. Default: {}.
    pub parameters: BTreeMap<String, String>,
    /// The pages that are made: `html`, `pdf`. Default: ["html"].
    pub pages: Vec<PageKind>,
    /// The paper of PDF, `a4` or `letter`; null takes that of the template. Default: null.
    pub paper: Option<PaperSize>,
    /// For how many days it is kept; 1 to 3650. Default: 7.
    pub keep_days: u32,
}

/// A page that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    /// A file that browsers show, with all that it needs in it.
    Html,
    /// Pages to print.
    Pdf,
}

/// Paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaperSize {
    /// 210 x 297 mm.
    A4,
    /// 8.5 x 11 in.
    Letter,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            name: None,
            template: None,
            parameters: BTreeMap::new(),
            pages: vec![PageKind::Html],
            paper: None,
            keep_days: 7,
        }
    }
}

impl Params {
    /// Fails with what is wrong; else the template.
    fn check(&self) -> Result<Template> {
        let template = self.template()?;
        for name in self.parameters.keys() {
            template
                .require_parameter(name)
                .map_err(|error| bad(NAME, "parameters", error.to_string()))?;
        }
        match self.pages.as_slice() {
            [] => return Err(bad(NAME, "pages", "expected html, pdf, or both, found neither")),
            pages if !cfg!(feature = "pdf") && pages.contains(&PageKind::Pdf) => {
                return Err(bad(NAME, "pages", "this build makes no PDF; expected html"));
            }
            [_] => {}
            [one, other] if one != other => {}
            pages => {
                let says = format!("expected each at most once, found {}", pages.len());
                return Err(bad(NAME, "pages", says));
            }
        }
        require_keep_days(NAME, self.keep_days)?;
        Ok(template)
    }

    fn template(&self) -> Result<Template> {
        match (&self.name, &self.template) {
            (Some(name), None) => template(name).map_err(|e| bad(NAME, "name", e.to_string())),
            (None, Some(text)) => Template::parse("the template", text)
                .map_err(|error| bad(NAME, "template", error.to_string())),
            (Some(_), Some(_)) => {
                Err(bad(NAME, "template", "expected either `name` or `template`, found both"))
            }
            (None, None) => {
                Err(bad(NAME, "name", "expected the name of a report, or a template in `template`"))
            }
        }
    }

    fn pages(&self) -> Vec<Page> {
        let paper = self.paper.map(|paper| match paper {
            PaperSize::A4 => reports::Paper::A4,
            PaperSize::Letter => reports::Paper::Letter,
        });
        let page = |kind: &PageKind| match kind {
            PageKind::Html => Page::Html,
            PageKind::Pdf => Page::Pdf(paper),
        };
        self.pages.iter().map(page).collect()
    }
}

/// The job kind.
pub struct Report;

impl Report {
    fn params(params: &Value) -> Result<(Params, Template)> {
        let params: Params = parameters::read(NAME, params)?;
        let template = params.check()?;
        Ok((params, template))
    }
}

impl Job for Report {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "makes a report of a template's queries, as HTML and PDF that are downloaded"
    }

    fn is_for_readers(&self) -> bool {
        true
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?.0)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        required_datasets(&Self::params(params)?.1)
    }

    fn reads_where_there(&self, params: &Value) -> Result<Vec<DatasetName>> {
        datasets(&Self::params(params)?.1)
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Self::params(params).map(|_| Vec::new())
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let (params, template) = Self::params(params)?;
            let mut stage = ctx.stage("make");
            let who = ctx.principal();
            let check = || ctx.check();
            let of = template.title.clone();
            let report =
                made(ctx.session(), template, &params.parameters, Some(&who.subject), &check);
            let report = tokio::time::timeout(TIME_MAX, report).await.map_err(|_| {
                let minutes = TIME_MAX.as_secs() / 60;
                let says = format!(
                    "the queries of a report take {minutes} minutes at most, and these took longer"
                );
                Error::user(Code::Timeout, says)
            })??;
            let (rows, datasets) = (report.rows, report.datasets.clone());
            let files = report.pages(params.pages()).await?;
            let (of, form) = (params.name.clone().unwrap_or(of), NAME.to_owned());
            let to = ctx.own_export_place(params.keep_days);
            let made = MadeFiles { form, of, datasets, files, run_id: ctx.run_id().to_string() };
            let manifest = engine::export_made(ctx.engine(), who, ctx.session(), &to, made).await?;
            (stage.record.rows_in, stage.record.bytes_written) = (rows, manifest.bytes);
            stage.finish();
            Ok(Outcome {
                summary: json!({
                    "rows": rows,
                    "bytes": manifest.bytes,
                    "files": manifest.files.len(),
                }),
            })
        })
    }
}
